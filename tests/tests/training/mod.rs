//! A short pretraining in this process.
// Each test binary uses a part of it.
#![allow(dead_code)]

use candle_core::Device;
use serde_json::{Map, Value as Json, json};
use simclr_core::cli::ProgressMode;
use simclr_core::config::{Config, TrainingConfig};
use simclr_core::rng::Purpose;
use simclr_core::run::{Extend, Opened, Run, RunOptions};
use simclr_core::train::{Schedule, TrainOptions, train};
use simclr_data::{Loader, ViewMaker};
use simclr_model::{ModelSpec, SimClr};
use simclr_ops::Group;
use simclr_pretrain::Pretrain;
use simclr_pretrain::objective::NtXent;
use simclr_stage::{EvalSet, Plan, device_batches};
use std::path::Path;
use std::sync::Arc;

/// Opens the run in `out`, or asks for a finished one to go on.
fn open(out: &Path, config: &Config, extend: bool) -> Run {
    let training = &config.pretrain.training;
    let steps = |examples: usize| Schedule::new(training, examples).total;
    let options = RunOptions {
        out,
        stage: "pretrain",
        config,
        identity: json!({"pretrain": {"training": {"length": training.length}}}),
        inputs: vec![],
        extra: Map::new(),
        resume: true,
        extend: extend.then_some(Extend { steps: &steps }),
        group: &Group::default(),
    };
    match Run::open(options).unwrap() {
        Opened::Fresh(run) | Opened::Resume(run) => run,
        Opened::Done(_) => panic!("{} is done already", out.display()),
    }
}

/// Pretrains in `out` (on from what is there), and stops as if killed after `stop` steps.
pub fn pretrain(out: &Path, config: &Config, stop: Option<u64>, device: &Device) {
    drop(trained(open(out, config, false), config, stop, device));
}

/// Pretrains to the end, and writes the result.
pub fn finished(out: &Path, config: &Config, device: &Device) {
    let (run, result) = trained(open(out, config, false), config, None, device);
    run.finish(&result).unwrap();
}

/// Trains a finished run further, as [`pretrain`].
pub fn extend(out: &Path, config: &Config, stop: Option<u64>, device: &Device) {
    drop(trained(open(out, config, true), config, stop, device));
}

fn trained(mut run: Run, config: &Config, stop: Option<u64>, device: &Device) -> (Run, Json) {
    let training: &TrainingConfig = &config.pretrain.training;
    let data = simclr_data::load(&config.data).unwrap();
    let mut test = data.test;
    test.truncate(40);
    let (train_set, size) = (Arc::new(data.train), config.data.image_size);
    let spec = ModelSpec::new(&config.model, 3, size, data.classes.len(), 0);
    let maker = ViewMaker::contrastive(&config.augment, size).unwrap();
    let (samples, examples) = ((0..train_set.len() as u32).collect(), train_set.len());
    let source = (config.seed, Purpose::Contrastive);
    let loader = Loader::new(train_set, samples, maker, (2, training.batch), source);
    let model = SimClr::new(&spec, config.seed).unwrap().on(device).unwrap();
    let batches = device_batches(loader, &model).unwrap();
    let loss = Pretrain::new(Box::new(NtXent::new(0.2)), training.chunk);
    let loss = loss.with_head(&model, config.pretrain.online_head, training.learning_rate).unwrap();
    let mut plan =
        Plan { model, batches, examples, test: EvalSet::new(config, Arc::new(test), &Group::default()), loss };
    let options = TrainOptions {
        training,
        examples,
        prefetch: 2,
        progress: ProgressMode::Off,
        title: "test".into(),
        group: &Group::default(),
        stop_after: stop,
    };
    let outcome = train(&mut plan, &options, &mut run).unwrap();
    (run, json!({"steps": outcome.steps, "examples": examples}))
}
