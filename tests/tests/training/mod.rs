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
use simclr_stage::{HeldOut, batches};
use std::path::Path;
use std::sync::Arc;

/// Pretrains in `out` (on from what is there), and stops as if killed after `stop` steps.
pub fn pretrain(out: &Path, config: &Config, stop: Option<u64>, device: &Device) {
    let training: &TrainingConfig = &config.pretrain.training;
    let options = RunOptions {
        out,
        stage: "pretrain",
        config,
        matters: json!({}),
        inputs: vec![],
        extra: Map::new(),
        resume: true,
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
    let batches = batches(loader, &model).unwrap();
    let task = Pretrain::new(model, batches, 0.2, HeldOut::new(config, Arc::new(test))).in_chunks(training.chunk);
    let mut task = task.with_head(config.pretrain.online_head, training.learning_rate).unwrap();
    let options = TrainOptions {
        training,
        examples,
        prefetch: 2,
        progress: ProgressMode::Off,
        title: "test".into(),
        stop_after: stop,
    };
    train(&mut task, &options, &mut run).unwrap();
}
