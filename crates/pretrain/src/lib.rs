//! Step one: contrastive pretraining without labels.
#![forbid(unsafe_code)]

mod estimate;
mod head;
pub mod objective;
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
use simclr_model::SimClr;
use simclr_stage::{Launch, Plan, Setup, launch, used_parameters};

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
    let (table, training) = (&config.pretrain, &config.pretrain.training);
    let start = Launch::new(args, config, "pretrain").table("model", &config.model).table("augment", &config.augment);
    launch(
        start.table("pretrain", table),
        training,
        "pretrain".into(),
        |_, device| plan(config, Setup::open(config, device, config.seed, |_| Ok(()))?),
        |model, outcome| {
            let figures: Map<_, _> = outcome.metrics.iter().map(|(k, v)| (format!("online_{k}"), json!(v))).collect();
            let mut result = json!({"params": used_parameters(model), "loss": outcome.last_loss});
            if let Some(result) = result.as_object_mut() {
                result.extend(figures);
            }
            Ok(result)
        },
    )
}

/// What pretraining trains, on images that are open.
///
/// # Errors
/// When the objective or a transform is none, or memory is short.
pub fn plan(config: &Config, setup: Setup<'_>) -> Result<Plan<Pretrain>> {
    let (table, training) = (&config.pretrain, &config.pretrain.training);
    let classes = if setup.train.labeled() > 0 { setup.classes } else { 0 };
    if classes == 0 {
        tracing::info!("no training image has a label: pretraining goes on without an online head");
    }
    let (examples, seed) = (setup.train.len(), setup.seed);
    let schedule = Schedule::new(training, examples);
    let model = setup.place(SimClr::new(&setup.spec(&config.model, classes, 0), seed)?)?;
    let given = objective::Given { config: table, model: &model, seed, steps: schedule.total };
    let objective = objective::choose(&given)?;
    let maker = ViewMaker::contrastive(&config.augment, setup.size())?;
    let (samples, sizes) = ((0..examples as u32).collect(), (objective.views(), training.batch));
    let loader = Loader::new(setup.train.clone(), samples, maker, sizes, (seed, Purpose::Contrastive))
        .finish_on_gpu(config.augment.on_device && setup.device.is_cuda());
    let loss = Pretrain::new(objective, training.chunk);
    let loss = loss.with_head(&model, table.online_head, schedule.peak)?;
    setup.plan(model, loader, examples, loss)
}
