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
use simclr_ops::cpu::{FORCE, Unit};
use std::process::Command;
use std::sync::Arc;

/// What every machine must come to.
const DIGESTS: [(&str, &str); 5] = [
    ("pictures", "79b8c7c8cc1f0bbf3a039445b3e440b0990f4f9c54b5cfb25ae6a929f2da0583"),
    ("views", "52deb6ec4ca1eb2d86b6aac12ae53726de25d24b2ba3263c69b689204c18ced7"),
    ("training by SGD", "637a2873117bb70a8efb7d516626f6dc1f21b08f3c2f2304899136abf289c63c"),
    ("training by LARS, with selective kernels", "b75f74ce488243c25f06347734c94f893c098d658c4b75e779ecea48d4bb7cae"),
    (
        "training by Adam, with squeeze-and-excitation",
        "2c9f1b871cc791431bdcf3c10c50cc9aa6b0cfcfa8a1384b08fa00b1dbf3c46d",
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
        ViewMaker::contrastive(&plain.augment, 28),
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
fn every_unit_of_this_processor_gives_them() {
    for unit in Unit::ALL.into_iter().filter(|unit| unit.is_here()) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", "this_unit_gives_the_digests"]).env(FORCE, unit.name()).output().unwrap();
        assert!(output.status.success(), "{}: {}", unit.name(), String::from_utf8_lossy(&output.stdout));
    }
}
