//! Step two: fine-tuning on few labels, and the supervised baseline.
#![forbid(unsafe_code)]

mod task;
pub use task::{Finetune, frozen};

use anyhow::Result;
use serde_json::{Map, json};
use simclr_core::cli::CommonArgs;
use simclr_core::config::{Config, check_fraction};
use simclr_core::params::Match;
use simclr_core::rng::Purpose;
use simclr_core::run::layout;
use simclr_data::{LabelSubset, Loader, ViewMaker};
use simclr_model::{ModelSpec, SimClr};
use simclr_stage::{
    Checkpoint, HeldOut, Launch, Plan, batches, classifier_result, label_list, launch, map_dtype, subset_seed,
};
use std::path::Path;
use std::sync::Arc;

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

    /// Share of the training labels that may be used, in (0, 1]
    #[arg(long, value_name = "FRACTION")]
    pub labels: f64,

    /// Which random subset of that share; subset 0, 1, 2, ... are independent draws
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub subset: usize,
}

/// Fine-tunes, or trains the baseline, into the run folder of the command line.
///
/// # Errors
/// When the data, the checkpoint, the folder or training fails.
pub fn run(args: &FinetuneArgs, config: &Config) -> Result<()> {
    check_fraction("--labels", args.labels)?;
    let config = &config.at_labels(args.labels)?;
    let scratch = args.from == "scratch";
    let (stage, table) = if scratch { ("supervised", &config.supervised) } else { ("finetune", &config.finetune) };
    let checkpoint = if scratch { None } else { Some(Checkpoint::load(Path::new(&args.from))?) };
    let mut matters = json!({
        "seed": config.seed, "data": config.data, "eval_view": [config.eval.crop, config.eval.resize],
        "flip": config.augment.flip, stage: table,
    });
    if scratch {
        matters["model"] = json!(config.model);
    }
    let mut extra = Map::new();
    extra.insert("labels".into(), json!(args.labels));
    extra.insert("subset".into(), json!(args.subset));
    let mut inputs: Vec<_> = checkpoint.iter().map(|c| ("checkpoint".to_string(), c.sha256.clone())).collect();
    inputs.extend(label_list(config, args.labels)?);
    let start = Launch { args: &args.common, config, stage, matters, inputs, extra };
    launch(
        start,
        |run, device| {
            let data = simclr_data::load(&config.data)?;
            data.expect_labels(stage)?;
            let (train, size, classes) = (Arc::new(data.train), config.data.image_size, data.classes.len());
            let seed = subset_seed(config.seed, args.subset);
            let subset = LabelSubset::of(&train, classes, args.labels, seed, &config.data)?;
            subset.save(&run.dir().join(layout::LABELS))?;
            let model = match &checkpoint {
                None => {
                    let spec = ModelSpec::new(&config.model, train.channels(), size, classes, table.proj_selector);
                    SimClr::new(&spec, seed)?
                }
                Some(checkpoint) => {
                    checkpoint.expect_channels(train.channels())?;
                    let spec = ModelSpec {
                        classes,
                        proj_selector: table.proj_selector,
                        image_size: size,
                        ..checkpoint.spec.clone()
                    };
                    let model = SimClr::new(&spec, seed)?;
                    model.reset_classifier()?;
                    checkpoint.fill(&model, Match::BUT_CLASSIFIER)?;
                    model
                }
            };
            let (examples, training) = (subset.indices.len(), &table.training);
            let maker = ViewMaker::labeled(table.min_area, table.color_strength, config.augment.flip, size);
            let loader = Loader::new(train, subset.indices, maker, (1, training.batch), (seed, Purpose::Labeled));
            let model = model.on(device)?.with_map_dtype(map_dtype(config, device));
            let (batches, test) = (batches(loader, &model)?, HeldOut::new(config, Arc::new(data.test)));
            let task = Finetune::new(model, batches, table.freeze_after, test);
            Ok(Plan { task, training, examples, title: stage.into() })
        },
        |task, outcome| classifier_result(&task.model, outcome),
    )
}
