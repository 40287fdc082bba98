//! Step one: contrastive pretraining without labels.
#![forbid(unsafe_code)]

mod estimate;
mod head;
mod measure;
pub mod objective;
mod task;
pub use estimate::{Pretraining, estimate};
pub use measure::images_per_s;
pub use task::Pretrain;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, json};
use simclr_core::cli::{CommonArgs, put};
use simclr_core::config::Config;
use simclr_core::rng::Purpose;
use simclr_core::train::Schedule;
use simclr_data::{Loader, ViewMaker};
use simclr_model::SimClr;
use simclr_stage::{Checkpoint, Launch, Plan, Setup, launch, used_parameters};
use std::path::Path;

/// Prints the estimate of the experiment's pretraining, on so many GPUs or on one and on eight; an epoch has `images`, or those of
/// the dataset.
///
/// # Errors
/// When the images are neither told nor there to be counted.
pub fn print_estimate(config: &Config, images: Option<usize>, gpus: Option<usize>) -> Result<()> {
    ensure!(gpus != Some(0), "--gpus 0: must be at least 1");
    let (examples, channels) = match images {
        Some(n) => (n, COLOURS),
        None => {
            let data = simclr_data::load(&config.data).context(
                "the images of an epoch cannot be counted; say --images N with --estimate (ImageNet has 1281167)",
            )?;
            (data.train.len(), data.train.channels())
        }
    };
    put(estimate(config, (examples, channels), gpus)?.as_bytes());
    Ok(())
}

/// Channels of images that are not there to be looked at.
const COLOURS: usize = 3;

/// Pretrains as the experiment says, into the run folder of the command line.
///
/// # Errors
/// When the data, the folder or training fails.
pub fn run(args: &CommonArgs, config: &Config) -> Result<()> {
    run_from(args, config, None)
}

/// As [`run`], beginning with the encoder of a checkpoint where there is one, and its projection head as far as shapes agree.
///
/// # Errors
/// As [`run`], and when the checkpoint is not of the experiment's network.
pub fn run_from(args: &CommonArgs, config: &Config, from: Option<&Path>) -> Result<()> {
    objective::check(&config.pretrain.loss)?;
    let checkpoint = from.map(Checkpoint::load).transpose()?;
    let (table, training) = (&config.pretrain, &config.pretrain.training);
    let start = Launch::new(args, config, "pretrain")
        .without_labels()
        .table("model", &config.model)
        .table("augment", &config.augment);
    let start = match &checkpoint {
        None => start,
        Some(checkpoint) => start.input("checkpoint", &checkpoint.sha256),
    };
    launch(
        start.table("pretrain", table),
        training,
        "pretrain".into(),
        |run, device| {
            let setup = Setup::open(config, device, config.seed, |data| {
                data.warn_of_shared();
                Ok(())
            })?;
            let setup = setup.among(&args.group)?;
            setup.keep_held_out(run)?;
            plan(config, setup, checkpoint.as_ref())
        },
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

/// What pretraining trains, on images that are open, from scratch or from the weights of `checkpoint`.
///
/// # Errors
/// When the objective or a transform is none, a batch is larger than the dataset, the weights do not fit, or memory is short.
pub fn plan(config: &Config, setup: Setup<'_>, checkpoint: Option<&Checkpoint>) -> Result<Plan<Pretrain>> {
    let (table, training) = (&config.pretrain, &config.pretrain.training);
    let classes = if setup.train.labeled() > 0 { setup.classes } else { 0 };
    if classes == 0 {
        tracing::info!("no training image has a label: pretraining goes on without an online head");
    }
    setup.check_chunk(training)?;
    let (examples, seed) = (setup.train.len(), setup.seed);
    ensure!(
        training.batch <= examples,
        "pretrain.training.batch = {}, but there are {examples} training pictures: a picture would be its own negative; set it \
         to {examples} at most, or add pictures",
        training.batch
    );
    let schedule = Schedule::new(training, examples);
    let model = SimClr::new(&setup.spec(&config.model, classes, 0), seed)?;
    if let Some(checkpoint) = checkpoint {
        let (layers, taken) = (model.spec.model.proj_layers, checkpoint.begin(&model)?);
        tracing::info!("begins with a trained encoder, and {taken} of {layers} layers of the head; the rest is fresh");
    }
    let model = setup.place(model)?;
    let given = objective::Given { config: table, model: &model, seed, steps: schedule.total };
    let objective = objective::choose(&given)?;
    let channels = setup.train.channels();
    ensure!(
        !config.augment.on_device || matches!(channels, 1 | 3),
        "augment.on_device = true: a GPU distorts pictures of 1 or 3 channels, and these have {channels}: set it to false"
    );
    let maker = ViewMaker::contrastive(&config.augment, setup.size())?;
    let (samples, sizes) = ((0..examples as u32).collect(), (objective.views(), training.batch));
    let loader = Loader::new(setup.train.clone(), samples, maker, sizes, (seed, Purpose::Contrastive))
        .finish_on_gpu(config.augment.on_device && setup.device.is_cuda());
    let loss = Pretrain::new(objective, training.chunk);
    let loss = loss.with_head(&model, table.online_head, schedule.peak)?;
    setup.plan(model, loader, examples, loss)
}
