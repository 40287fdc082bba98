//! Whole training runs against the reference: the stages' own tasks in the training loop, step by step.
#![allow(clippy::unwrap_used, missing_docs)]

use candle_core::{Device, Tensor};
use serde_json::{Value as Json, json};
use simclr_core::cli::ProgressMode;
use simclr_core::config::{Config, OnlineHead, TrainingConfig};
use simclr_core::params::Match;
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::{Opened, Run, RunOptions};
use simclr_core::train::{BatchFn, Task, TrainOptions, train};
use simclr_data::{Batch, Images};
use simclr_finetune::Finetune;
use simclr_model::{ModelSpec, SimClr};
use simclr_ops::Group;
use simclr_pretrain::Pretrain;
use simclr_pretrain::objective::NtXent;
use simclr_stage::{DeviceBatch, EvalSet, Plan, uploader};
use simclr_tests::{Golden, assert_close, device, golden_files, golden_list, log};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Losses and weights; the reference's own float32 runs differ by less.
const TOLERANCE: f32 = 2e-3;
const GRADIENT_NORMS: f32 = 2e-2;

fn phase(golden: &Golden, name: &str) -> Json {
    serde_json::from_str(&golden.metadata[name]).unwrap()
}

fn training(phase: &Json) -> TrainingConfig {
    let optimizer = match phase["optimizer"].as_str().unwrap_or("lars") {
        "momentum" => "sgd",
        other => other,
    };
    serde_json::from_value(json!({
        "length": {"epochs": phase["train_epochs"].as_f64().unwrap()},
        "warmup": {"epochs": phase["warmup_epochs"].as_f64().unwrap()},
        "batch": phase["train_batch_size"], "learning_rate": phase["learning_rate"],
        "scaling": phase["learning_rate_scaling"], "weight_decay": phase["weight_decay"], "optimizer": optimizer,
    }))
    .unwrap()
}

fn model(golden: &Golden, prefix: &str, selector: i64) -> SimClr {
    let number = |key: &str| golden.metadata[key].parse::<f64>().unwrap();
    let config = serde_json::from_value(json!({
        "depth": number("depth") as usize, "width": number("base_channels") / 64.0, "sk_ratio": number("sk_ratio"),
        "se_ratio": golden.metadata.get("se_ratio").map_or(0.0, |r| r.parse().unwrap()),
        "proj_layers": number("num_proj_layers") as usize, "proj_dim": number("proj_out_dim") as usize,
    }))
    .unwrap();
    let (size, classes) = (number("image_size") as usize, number("num_classes") as usize);
    let model = SimClr::blank(&ModelSpec::new(&config, 3, size, classes, selector)).unwrap();
    let weights: BTreeMap<String, Tensor> = golden
        .names()
        .filter_map(|n| Some((n.strip_prefix(prefix)?.to_string(), n)))
        .map(|(short, n)| {
            let (shape, data) = golden.get(n);
            (short, Tensor::from_vec(data.clone(), shape.clone(), &Device::Cpu).unwrap())
        })
        .collect();
    // Fine-tuning starts from a classifier of zeros, which is what a blank network has.
    let matching = if prefix == "init." { Match::EXACT } else { Match::BUT_CLASSIFIER };
    model.store.load_map(&weights, matching).unwrap();
    model.on(&device()).unwrap()
}

/// The stored batch, the same at every step: the first `views` of its two views.
fn batches(golden: &Golden, views: usize, model: &SimClr) -> BatchFn<DeviceBatch> {
    let (shape, data) = golden.get("views");
    let (n, s) = (shape[0], shape[1]);
    let images = (0..views).flat_map(|v| data.chunks_exact(6).flat_map(move |p| p[3 * v..3 * v + 3].to_vec()));
    let labels = golden.get("labels").1.iter().map(|l| Some(*l as u32)).collect();
    let (samples, shape) = ((0..n as u32).collect(), [views * n, s, s, 3]);
    let batch = Batch { images: images.collect(), labels, samples, shape, distortions: Vec::new() };
    always(batch, model)
}

fn always(batch: Batch, model: &SimClr) -> BatchFn<DeviceBatch> {
    let uploader = uploader(model).unwrap();
    Arc::new(move |_| DeviceBatch::send(batch.clone(), &uploader))
}

fn experiment(size: usize) -> Config {
    let training = json!({"length": {"steps": 1}, "batch": 1, "learning_rate": 1.0});
    serde_json::from_value(json!({
        "name": "trajectory", "data": {"dataset": "textures", "image_size": size}, "model": {"depth": 18},
        "pretrain": {"training": training}, "finetune": {"training": training}, "supervised": {"training": training},
    }))
    .unwrap()
}

fn held_out(size: usize) -> EvalSet {
    let images =
        Images { height: size, width: size, channels: 3, data: vec![9; 2 * size * size * 3], labels: vec![0, 1] };
    EvalSet::new(&experiment(size), Arc::new(images.into()), &Group::default())
}

/// Trains through the stored steps and returns what was logged at each.
fn run<T: Task>(task: &mut T, phase: &Json) -> Vec<Json> {
    let training = training(phase);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let config = experiment(24);
    let options = RunOptions {
        out: &out,
        stage: "test",
        config: &config,
        identity: json!({}),
        inputs: vec![],
        extra: serde_json::Map::new(),
        resume: false,
        extend: None,
        group: &Group::default(),
    };
    let Opened::Fresh(mut run) = Run::open(options).unwrap() else { panic!("a fresh folder") };
    let options = TrainOptions {
        training: &training,
        examples: phase["num_examples"].as_u64().unwrap() as usize,
        prefetch: 1,
        progress: ProgressMode::Off,
        title: "test".into(),
        group: &Group::default(),
        stop_after: Some(phase["steps"].as_array().unwrap().len() as u64),
    };
    train(task, &options, &mut run).unwrap();
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).filter(|l: &Json| l["loss"].is_number()).collect()
}

fn compare(what: &str, phase: &Json, logged: &[Json], names: &[(&str, &str, f32)]) {
    let steps = phase["steps"].as_array().unwrap();
    assert!(logged.len() >= steps.len(), "{what}: {} steps logged, {} stored", logged.len(), steps.len());
    for (ours, theirs, tolerance) in names {
        let column = |rows: &[Json], name: &str| -> Vec<f32> {
            rows[..steps.len()]
                .iter()
                .map(|r| r[name].as_f64().unwrap_or_else(|| panic!("{name} in {r}")) as f32)
                .collect()
        };
        assert_close(&format!("{what} {theirs}"), &column(logged, ours), &column(steps, theirs), *tolerance);
    }
}

fn compare_weights(what: &str, golden: &Golden, model: &SimClr, prefix: &str) {
    let weights = model.store.save_map().unwrap();
    let mut seen = 0;
    for name in golden.names().filter(|n| n.starts_with(prefix)) {
        let short = name.strip_prefix(prefix).unwrap();
        let got = weights[short].flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_close(&format!("{what} {short}"), &got, &golden.get(name).1, TOLERANCE);
        seen += 1;
    }
    assert!(seen > 0, "{what}: no weights under {prefix}");
}

#[test]
fn pretraining() {
    for file in golden_files("trajectory") {
        let golden = Golden::load(&file);
        let phase = phase(&golden, "pretrain");
        let model = model(&golden, "init.", phase["ft_proj_selector"].as_i64().unwrap());
        let size = model.spec.image_size;
        let temperature = phase["temperature"].as_f64().unwrap();
        let batches = batches(&golden, 2, &model);
        let loss = Pretrain::new(Box::new(NtXent::new(temperature)), None);
        let loss = loss.with_head(&model, OnlineHead::Reference, 1.0).unwrap();
        let mut task = Plan { model, batches, examples: 1, test: held_out(size), loss };
        let logged = run(&mut task, &phase);
        let names = [
            ("contrast_loss", "contrast_loss", TOLERANCE),
            ("contrast_acc", "contrast_acc", TOLERANCE),
            ("supervised_loss", "supervised_loss", TOLERANCE),
            ("weight_decay", "weight_decay", TOLERANCE),
            ("total_loss", "total_loss", TOLERANCE),
            ("lr", "lr", 1e-5),
            ("grad_norm", "grad_norm", GRADIENT_NORMS),
        ];
        compare(&file, &phase, &logged, &names);
        compare_weights(&file, &golden, &task.model, "pretrained.");
    }
}

#[test]
fn fine_tuning() {
    for file in golden_files("trajectory") {
        let golden = Golden::load(&file);
        for name in ["finetune", "linear_eval", "finetune_momentum_wd"] {
            let phase = phase(&golden, name);
            let model = model(&golden, "pretrained.", phase["ft_proj_selector"].as_i64().unwrap());
            let size = model.spec.image_size;
            let freeze = phase["fine_tune_after_block"].as_i64().unwrap();
            let batches = batches(&golden, 1, &model);
            let loss = Finetune::new(&model, freeze).unwrap();
            let mut task = Plan { model, batches, examples: 1, test: held_out(size), loss };
            let logged = run(&mut task, &phase);
            let names = [
                ("loss", "supervised_loss", TOLERANCE),
                ("weight_decay", "weight_decay", TOLERANCE),
                ("total_loss", "total_loss", TOLERANCE),
                ("lr", "lr", 1e-5),
                ("grad_norm", "grad_norm", GRADIENT_NORMS),
            ];
            let what = format!("{file} {name}");
            compare(&what, &phase, &logged, &names);
            compare_weights(&what, &golden, &task.model, &format!("{name}.final."));
        }
    }
}

/// The smallest network whose weights bear the names in `table`.
fn network_of(table: &[Json]) -> ModelSpec {
    let named: BTreeSet<&str> = table.iter().flat_map(|c| names(&c["weights_changed_by_one_step"])).collect();
    let statistics = table[0]["groups_of_changed_running_stats"].as_array().unwrap();
    let layers = statistics.iter().filter(|g| g.as_str().unwrap().starts_with("projection.")).count();
    for (depth, sk) in [18, 34, 50, 101, 152, 200].into_iter().flat_map(|d| [(d, 0.0), (d, 0.0625)]) {
        let config = json!({"depth": depth, "width": 0.0625, "sk_ratio": sk, "proj_layers": layers, "proj_dim": 16});
        let spec = ModelSpec::new(&serde_json::from_value(config).unwrap(), 3, 24, 10, 0);
        let model = SimClr::blank(&spec).unwrap();
        let encoder = |n: &&str| !n.starts_with("projection.");
        let ours: BTreeSet<&str> = model.store.trainable().map(|p| p.name.as_str()).filter(encoder).collect();
        if ours == named.iter().copied().filter(encoder).collect() {
            return spec;
        }
    }
    panic!("no network has the weights that the table names")
}

fn names(list: &Json) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|n| n.as_str().unwrap())
}

/// `layer3` of `layer3.0.bn1.weight`, `projection.1` of `projection.1.bn.weight`.
fn group(name: &str) -> String {
    name.split('.').take(if name.starts_with("projection") { 2 } else { 1 }).collect::<Vec<_>>().join(".")
}

/// Which weights and running statistics one step of fine-tuning moves.
#[test]
fn freezing() {
    let table = golden_list("freeze_table");
    let spec = network_of(&table);
    for case in &table {
        let selector = case["ft_proj_selector"].as_i64().unwrap();
        let model = SimClr::new(&ModelSpec { proj_selector: selector, ..spec.clone() }, 0).unwrap();
        // Away from a fresh network's zeros, which keep gradients from the layers below. Of both signs: were every ReLU of
        // a channel open, the batch norm that follows would leave its bias without a gradient.
        let mut rng = Rng::stream(0, Purpose::Test, &[]);
        for p in model.store.iter().filter(|p| !p.name.contains(".running_")) {
            simclr_ops::tensor::update(&p.tensor, |w| w.iter_mut().for_each(|w| *w += rng.uniform(-0.3, 0.3))).unwrap();
        }
        let side = spec.image_size;
        let images = (0..8 * side * side * 3).map(|_| rng.uniform(0.0, 1.0)).collect();
        let batch = Batch {
            images,
            labels: (0..8).map(|i| Some(i % 10)).collect(),
            samples: (0..8).collect(),
            shape: [8, side, side, 3],
            distortions: Vec::new(),
        };
        let model = model.on(&device()).unwrap();
        let before = flattened(&model);
        let freeze = case["fine_tune_after_block"].as_i64().unwrap();
        let batches = always(batch, &model);
        let loss = Finetune::new(&model, freeze).unwrap();
        let mut task = Plan { model, batches, examples: 1, test: held_out(side), loss };
        let phase = json!({
            "train_batch_size": 8, "train_epochs": 1, "warmup_epochs": 0, "learning_rate": 1.0,
            "learning_rate_scaling": "linear", "weight_decay": case["weight_decay"], "optimizer": case["optimizer"],
            "num_examples": 8, "steps": [0],
        });
        run(&mut task, &phase);
        let after = flattened(&task.model);
        let moved: BTreeSet<&str> = before.keys().filter(|n| before[*n] != after[*n]).map(String::as_str).collect();
        let (statistics, weights): (Vec<&str>, Vec<&str>) = moved.iter().partition(|n| n.contains(".running_"));
        let what = format!("{} after {freeze}, head {selector}", case["optimizer"]);
        let want: BTreeSet<&str> = names(&case["weights_changed_by_one_step"]).collect();
        assert_eq!(weights.into_iter().collect::<BTreeSet<_>>(), want, "{what}: weights");
        let want: BTreeSet<String> = names(&case["groups_of_changed_running_stats"]).map(String::from).collect();
        assert_eq!(statistics.into_iter().map(group).collect::<BTreeSet<_>>(), want, "{what}: running statistics");
        log(&what, 1, "exact", 0.0, 0.0);
    }
}

fn flattened(model: &SimClr) -> BTreeMap<String, Vec<f32>> {
    let map = model.store.save_map().unwrap();
    map.into_iter().map(|(n, t)| (n, t.flatten_all().unwrap().to_vec1().unwrap())).collect()
}
