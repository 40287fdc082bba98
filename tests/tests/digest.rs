//! One digest on every processor: pictures, views and short trainings in f32 give the same bits on every vector unit.
//!
//! Where the numbers of the code change on purpose, `NUMERICS` of `simclr_core::run` goes up and the digests here are
//! replaced by those that the failing test prints.
#![allow(clippy::unwrap_used, missing_docs)]

mod training;

use candle_core::{Device, Tensor};
use serde_json::json;
use simclr_core::config::Config;
use simclr_core::disk::sha256;
use simclr_core::rng::Purpose;
use simclr_data::{Loader, ViewMaker};
use simclr_ops::simd::{FORCE, Unit, chosen_unit};
use std::process::Command;
use std::sync::Arc;

/// What every machine must come to.
const DIGESTS: [(&str, &str); 5] = [
    ("pictures", "07724bf8629e1e241c6c3f9cfb128abce41c64d7f1d50e1552eadec3313c828b"),
    ("views", "5e34458041eb6bd127436a4927691126bd16621dc3b12add9f9d1849e0c1b9ee"),
    ("training by SGD", "9c593dd5db69046e0c1bb83d9fa04f4c3ffb7fb0dffb5a0b6320bbcc62fb2cdb"),
    ("training by LARS, with selective kernels", "aafa97f9b813330e8e7fa89e84fa5101ec7d95a1e64f479cc8cd6fb52e3cff9a"),
    (
        "training by Adam, with squeeze-and-excitation",
        "b5c5e29e1f31adcea70c44b54994146b3af42e68ce34ed87f71bdc7098371005",
    ),
];

fn experiment(model: serde_json::Value, optimizer: &str, learning_rate: f64) -> Config {
    let training = json!({
        "length": {"steps": 3}, "warmup": {"steps": 1}, "batch": 12, "learning_rate": learning_rate,
        "weight_decay": 1e-4, "optimizer": optimizer, "scaling": "none",
    });
    serde_json::from_value(json!({
        "name": "digest", "seed": 7, "data": {"dataset": "textures", "image_size": 16, "limit": 60}, "model": model,
        "pretrain": {"training": training}, "finetune": {"training": training}, "supervised": {"training": training},
    }))
    .unwrap()
}

/// The digest of tensors by their numbers, in the order of their names.
fn of_tensors<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> String {
    let mut bytes = Vec::new();
    for tensor in tensors {
        let numbers: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        bytes.extend(numbers.iter().flat_map(|v| v.to_le_bytes()));
    }
    sha256(&bytes)
}

fn of_training(config: &Config) -> String {
    let dir = tempfile::tempdir().unwrap();
    training::pretrain(dir.path(), config, None, &Device::Cpu);
    let weights =
        candle_core::safetensors::load(dir.path().join("checkpoint/model.safetensors"), &Device::Cpu).unwrap();
    let sorted: std::collections::BTreeMap<_, _> = weights.iter().collect();
    of_tensors(sorted.into_values())
}

fn digests() -> Vec<String> {
    let plain = experiment(json!({"depth": 18, "width": 0.25, "proj_layers": 2, "proj_dim": 16}), "sgd", 0.05);
    let train = Arc::new(simclr_data::load(&plain.data).unwrap().train);
    let pictures: Vec<u8> = (0..train.len()).flat_map(|i| train.get(i).unwrap().data).collect();
    let loader = Loader::new(
        train,
        (0..60).collect(),
        ViewMaker::contrastive(&plain.augment, 28).unwrap(),
        (2, 30),
        (plain.seed, Purpose::Contrastive),
    );
    let views: Vec<u8> =
        (0..2).flat_map(|step| loader.batch(step).unwrap().images).flat_map(f32::to_le_bytes).collect();
    let selective = json!({"depth": 50, "width": 0.25, "sk_ratio": 0.0625, "proj_layers": 3, "proj_dim": 16});
    let squeezed = json!({"depth": 18, "width": 0.3125, "se_ratio": 0.25, "proj_layers": 2, "proj_dim": 16});
    vec![
        sha256(&pictures),
        sha256(&views),
        of_training(&plain),
        of_training(&experiment(selective, "lars", 1.0)),
        of_training(&experiment(squeezed, "adam", 1e-3)),
    ]
}

#[test]
fn this_unit_gives_the_digests() {
    let got = digests();
    let wrong: Vec<_> = DIGESTS.iter().zip(&got).filter(|((_, want), got)| want != got).collect();
    assert!(wrong.is_empty(), "this processor computes other numbers: {wrong:#?}");
}

/// Every other unit of this processor, in a process of its own.
#[test]
fn every_other_unit_of_this_processor_gives_them() {
    let own = chosen_unit().unwrap();
    for unit in Unit::ALL.into_iter().filter(|unit| unit.is_here() && *unit != own) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", "this_unit_gives_the_digests"]).env(FORCE, unit.name()).output().unwrap();
        assert!(output.status.success(), "{}: {}", unit.name(), String::from_utf8_lossy(&output.stdout));
    }
}
