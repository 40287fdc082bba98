//! Step two: fine-tuning on few labels, and the supervised baseline.
#![forbid(unsafe_code)]

mod task;
pub use task::{Finetune, frozen};

use anyhow::{Context, Result};
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::CommonArgs;
use simclr_core::config::{Config, FinetuneConfig, LabelAmount};
use simclr_core::params::Match;
use simclr_core::rng::Purpose;
use simclr_core::run::layout;
use simclr_model::{ModelSpec, SimClr};
use simclr_stage::{Checkpoint, Launch, Setup, classifier_result, launch, subset_seed};
use std::path::Path;

/// Options of this stage.
#[derive(Clone, Debug, clap::Args)]
pub struct FinetuneArgs {
    /// Options of every stage
    #[command(flatten)]
    pub common: CommonArgs,

    /// The pretrained checkpoint: a run folder, a checkpoint folder, a model.safetensors or hf://OWNER/NAME[@REV];
    /// `scratch` trains the supervised baseline instead, by the table [supervised]
    #[arg(long, value_name = "CHECKPOINT")]
    pub from: String,

    /// How many of the training labels may be used: a share in (0, 1], `10-per-class` or `all`
    #[arg(long, value_name = "AMOUNT")]
    pub labels: LabelAmount,

    /// Which random subset of so many; subset 0, 1, 2, ... are independent draws
    #[arg(long, value_name = "INDEX", default_value_t = 0, value_parser = cli::size(&bounds::INDEX))]
    pub subset: usize,
}

/// Fine-tunes, or trains the baseline, into the run folder of the command line.
///
/// # Errors
/// When the data, the checkpoint, the folder or training fails.
pub fn run(args: &FinetuneArgs, config: &Config) -> Result<()> {
    args.labels.check("--labels")?;
    let config = &config.at_labels(args.labels)?;
    let checkpoint = match args.from.as_str() {
        "scratch" => None,
        from => Some(Checkpoint::load(Path::new(from))?),
    };
    let (stage, table) = match checkpoint {
        None => ("supervised", &config.supervised),
        Some(_) => ("finetune", &config.finetune),
    };
    let start = Launch::new(&args.common, config, stage).table(stage, table).on_labels(args.labels, args.subset);
    let start = match &checkpoint {
        None => start.table("model", &config.model),
        Some(checkpoint) => start.input("checkpoint", &checkpoint.sha256),
    };
    launch(
        start.label_list(args.labels)?,
        &table.training,
        stage.into(),
        |run, device| {
            let seed = subset_seed(config.seed, args.subset);
            let setup =
                Setup::open(config, device, seed, |data| data.expect_labels(stage))?.among(&args.common.group)?;
            setup.keep_classes(run)?;
            setup.keep_held_out(run)?;
            let subset = setup.labels(args.labels)?;
            if run.leads() {
                subset.save(&run.dir().join(layout::LABELS))?;
            }
            let model = setup.place(match &checkpoint {
                None => SimClr::new(&setup.spec(&config.model, setup.classes, table.proj_selector), seed)?,
                Some(checkpoint) => continued(checkpoint, &setup, table)?,
            })?;
            let loss = Finetune::new(&model, table.freeze_after).with_context(|| format!("in the table [{stage}]"))?;
            let examples = subset.indices.len();
            let (crops, batches) = ((table.min_area, table.color_strength), (table.training.batch, Purpose::Labeled));
            let loader = setup.loader(subset.indices, crops, batches);
            setup.plan(model, loader, examples, loss)
        },
        classifier_result,
    )
}

/// The network of a checkpoint, with a classifier of zeros for the classes at hand.
fn continued(checkpoint: &Checkpoint, setup: &Setup<'_>, table: &FinetuneConfig) -> Result<SimClr> {
    checkpoint.expect_channels(setup.train.channels())?;
    let (classes, proj_selector, image_size) = (setup.classes, table.proj_selector, setup.size());
    let spec = ModelSpec { classes, proj_selector, image_size, ..checkpoint.spec.clone() };
    let spec = spec.named(&setup.class_names);
    let model = SimClr::new(&spec, setup.seed)?;
    model.reset_classifier()?;
    checkpoint.fill(&model, Match::BUT_CLASSIFIER)?;
    Ok(model)
}
