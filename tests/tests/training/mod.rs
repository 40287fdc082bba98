//! A short pretraining in this process.

use candle_core::Device;
use serde_json::{Map, json};
use simclr_core::cli::ProgressMode;
use simclr_core::config::{Config, TrainingConfig};
use simclr_core::rng::Purpose;
use simclr_core::run::{Opened, Run, RunOptions};
use simclr_core::train::{TrainOptions, train};
use simclr_data::{Loader, ViewMaker};
use simclr_model::{ModelSpec, SimClr};
use simclr_pretrain::Pretrain;
use simclr_pretrain::objective::NtXent;
use simclr_stage::{EvalSet, Plan, device_batches};
use std::path::Path;
use std::sync::Arc;

/// Pretrains in `out` (on from what is there), and stops as if killed after `stop` steps.
pub fn pretrain(out: &Path, config: &Config, stop: Option<u64>, device: &Device) {
    let training: &TrainingConfig = &config.pretrain.training;
    let options = RunOptions {
        out,
        stage: "pretrain",
        config,
        identity: json!({}),
        inputs: vec![],
        extra: Map::new(),
        resume: true,
        extend: None,
    };
    let mut run = match Run::open(options).unwrap() {
        Opened::Fresh(run) | Opened::Resume(run) => run,
        Opened::Done(_) => panic!("{} is done already", out.display()),
    };
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
    let mut plan = Plan { model, batches, examples, test: EvalSet::new(config, Arc::new(test)), loss };
    let options = TrainOptions {
        training,
        examples,
        prefetch: 2,
        progress: ProgressMode::Off,
        title: "test".into(),
        stop_after: stop,
    };
    train(&mut plan, &options, &mut run).unwrap();
}
