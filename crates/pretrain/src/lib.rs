//! Step one: contrastive pretraining without labels.
#![forbid(unsafe_code)]

mod estimate;
mod head;
mod task;
pub use estimate::estimate;
pub use task::Pretrain;

use anyhow::{Context, Result};
use serde_json::{Map, json};
use simclr_core::cli::CommonArgs;
use simclr_core::config::Config;
use simclr_core::rng::Purpose;
use simclr_core::train::Schedule;
use simclr_data::{Loader, ViewMaker};
use simclr_model::{ModelSpec, SimClr};
use simclr_stage::{HeldOut, Launch, Plan, batches, launch, maps, used_parameters};
use std::sync::Arc;

/// Prints the estimate of the experiment's pretraining; an epoch has `images`, or those of the dataset.
///
/// # Errors
/// When the images are neither told nor there to be counted.
pub fn print_estimate(config: &Config, images: Option<usize>) -> Result<()> {
    let (examples, channels) = match images {
        Some(n) => (n, COLOURS),
        None => {
            let data = simclr_data::load(&config.data).context(
                "the images of an epoch cannot be counted; say --images N with --estimate (ImageNet has 1281167)",
            )?;
            (data.train.len(), data.train.channels())
        }
    };
    print!("{}", estimate(config, examples, channels)?);
    Ok(())
}

/// Channels of images that are not there to be looked at.
const COLOURS: usize = 3;

/// Pretrains as the experiment says, into the run folder of the command line.
///
/// # Errors
/// When the data, the folder or training fails.
pub fn run(args: &CommonArgs, config: &Config) -> Result<()> {
    let matters = json!({
        "seed": config.seed, "data": config.data, "model": config.model, "augment": config.augment,
        "pretrain": config.pretrain,
    });
    let start = Launch { args, config, stage: "pretrain", matters, inputs: vec![], extra: Map::new() };
    launch(
        start,
        |_, device| {
            let data = simclr_data::load(&config.data)?;
            let (train, size) = (Arc::new(data.train), config.data.image_size);
            let classes = if train.labeled() > 0 { data.classes.len() } else { 0 };
            if classes == 0 {
                tracing::info!("no training image has a label: pretraining goes on without an online head");
            }
            let spec = ModelSpec::new(&config.model, train.channels(), size, classes, 0);
            let (examples, training) = (train.len(), &config.pretrain.training);
            let maker = ViewMaker::contrastive(&config.augment, size)?;
            let samples = (0..examples as u32).collect();
            let loader = Loader::new(train, samples, maker, (2, training.batch), (config.seed, Purpose::Contrastive))
                .finish_on_gpu(config.augment.on_device && device.is_cuda());
            let model = SimClr::new(&spec, config.seed)?.on(device)?.with_maps(maps(config, device));
            let (batches, test) = (batches(loader, &model)?, HeldOut::new(config, Arc::new(data.test)));
            let table = &config.pretrain;
            let task = Pretrain::new(model, batches, table.temperature, test).in_chunks(training.chunk);
            let task = task.with_head(table.online_head, Schedule::new(training, examples).peak)?;
            Ok(Plan { task, training, examples, title: "pretrain".into() })
        },
        |task, outcome| {
            let figures: Map<_, _> = outcome.metrics.iter().map(|(k, v)| (format!("online_{k}"), json!(v))).collect();
            let loss = outcome.last_step.iter().find(|(name, _)| *name == task::CONTRAST_LOSS).map(|(_, loss)| loss);
            let mut result = json!({"params": used_parameters(&task.model), "loss": loss});
            if let Some(result) = result.as_object_mut() {
                result.extend(figures);
            }
            Ok(result)
        },
    )
}
