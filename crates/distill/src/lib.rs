//! Step three: distillation of a teacher into a student.
#![forbid(unsafe_code)]

mod task;
pub use task::Distill;

use anyhow::{Result, ensure};
use serde_json::{Map, json};
use simclr_core::cli::CommonArgs;
use simclr_core::config::{Config, check_fraction};
use simclr_core::params::Match;
use simclr_core::rng::Purpose;
use simclr_data::{LabelSubset, Loader, ViewMaker};
use simclr_model::{ModelSpec, SimClr};
use simclr_stage::{
    Checkpoint, HeldOut, Launch, Plan, batches, classifier_result, label_list, launch, map_dtype, subset_seed,
};
use std::path::PathBuf;
use std::sync::Arc;

/// Options of this stage.
#[derive(Clone, Debug, clap::Args)]
pub struct DistillArgs {
    /// Options of every stage
    #[command(flatten)]
    pub common: CommonArgs,

    /// The teacher, a checkpoint with a classifier: a run folder, a checkpoint folder, a model.safetensors or
    /// hf://OWNER/NAME[@REV]
    #[arg(long, value_name = "CHECKPOINT")]
    pub teacher: PathBuf,

    /// Which student: NAME of a table [distill.NAME]
    #[arg(long, value_name = "NAME", default_value = "self")]
    pub student: String,

    /// Share of the training labels: used where teacher_weight is below 1, and for overrides of that share
    #[arg(long, value_name = "FRACTION", default_value_t = 1.0)]
    pub labels: f64,

    /// Which random subset of that share
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub subset: usize,
}

/// Distils into the run folder of the command line.
///
/// # Errors
/// When the data, the teacher, the folder or training fails.
pub fn run(args: &DistillArgs, config: &Config) -> Result<()> {
    check_fraction("--labels", args.labels)?;
    let config = &config.at_labels(args.labels)?;
    let table = config.student(&args.student)?;
    let teacher = Checkpoint::load(&args.teacher)?;
    ensure!(teacher.spec.classes > 0, "{}: the teacher has no classifier; fine-tune it first", args.teacher.display());
    let matters = json!({
        "seed": config.seed, "data": config.data, "eval_view": [config.eval.crop, config.eval.resize],
        "flip": config.augment.flip, "distill": table,
    });
    let mut extra = Map::new();
    extra.insert("labels".into(), json!(args.labels));
    extra.insert("subset".into(), json!(args.subset));
    extra.insert("student".into(), json!(args.student));
    let mut inputs = vec![("teacher".to_string(), teacher.sha256.clone())];
    if table.teacher_weight < 1.0 {
        inputs.extend(label_list(config, args.labels)?);
    }
    let start = Launch { args: &args.common, config, stage: "distill", matters, inputs, extra };
    launch(
        start,
        |_, device| {
            let data = simclr_data::load(&config.data)?;
            data.expect_test("distillation")?;
            let (train, size, classes) = (Arc::new(data.train), config.data.image_size, data.classes.len());
            teacher.expect_channels(train.channels())?;
            ensure!(
                teacher.spec.classes == classes,
                "the teacher knows {} classes, the dataset has {classes}",
                teacher.spec.classes
            );
            let seed = subset_seed(config.seed, args.subset);
            let spec = match &table.model {
                // Self-distillation: the same network, classifier and head layer included.
                None => ModelSpec { image_size: size, ..teacher.spec.clone() },
                Some(model) => ModelSpec::new(model, train.channels(), size, classes, 0),
            };
            let student = SimClr::new(&spec, seed)?;
            if table.init_from_teacher {
                ensure!(
                    table.model.is_none(),
                    "distill.{}.init_from_teacher needs a student of the teacher's shape: leave its model out",
                    args.student
                );
                teacher.fill(&student, Match::EXACT)?;
            }
            let known = if table.teacher_weight < 1.0 {
                LabelSubset::of(&train, classes, args.labels, seed, &config.data)?.indices
            } else {
                Vec::new()
            };
            let (examples, training) = (train.len(), &table.training);
            let maker = ViewMaker::labeled(table.min_area, table.color_strength, config.augment.flip, size);
            let samples = (0..examples as u32).collect();
            let loader = Loader::new(train, samples, maker, (1, training.batch), (seed, Purpose::Distill));
            let dtype = map_dtype(config, device);
            let (student, teacher) =
                (student.on(device)?.with_map_dtype(dtype), teacher.model()?.on(device)?.with_map_dtype(dtype));
            let batches = batches(loader, &student)?;
            let task = Distill::new(
                (student, teacher),
                batches,
                (table.temperature, table.teacher_weight),
                known,
                HeldOut::new(config, Arc::new(data.test)),
            );
            Ok(Plan { task, training, examples, title: format!("distill {}", args.student) })
        },
        |task, outcome| classifier_result(&task.student, outcome),
    )
}
