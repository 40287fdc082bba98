//! Step three: distillation of a teacher into a student.
#![forbid(unsafe_code)]

mod task;
pub use task::Distill;

use anyhow::{Result, ensure};
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::CommonArgs;
use simclr_core::config::{Config, LabelAmount};
use simclr_core::params::Match;
use simclr_core::rng::Purpose;
use simclr_model::{ModelSpec, SimClr};
use simclr_stage::{Checkpoint, Launch, Setup, classifier_result, launch, subset_seed};
use std::path::PathBuf;

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

    /// How many of the training labels (0.1, 10-per-class, all): used where teacher_weight is below 1 or unlabeled = false, and
    /// for overrides of that amount
    #[arg(long, value_name = "AMOUNT", default_value_t = LabelAmount::ALL)]
    pub labels: LabelAmount,

    /// Which random subset of so many
    #[arg(long, value_name = "INDEX", default_value_t = 0, value_parser = cli::size(&bounds::INDEX))]
    pub subset: usize,
}

/// Distils into the run folder of the command line.
///
/// # Errors
/// When the data, the teacher, the folder or training fails.
pub fn run(args: &DistillArgs, config: &Config) -> Result<()> {
    args.labels.check("--labels")?;
    let config = &config.at_labels(args.labels)?;
    let table = config.student(&args.student)?;
    let teacher = Checkpoint::load(&args.teacher)?;
    teacher.expect_classifier()?;
    let labeled = table.teacher_weight < 1.0 || !table.unlabeled;
    let start = Launch::new(&args.common, config, "distill").table("distill", table);
    let start = start.on_labels(args.labels, args.subset).option("student", &args.student);
    let start = start.input("teacher", &teacher.sha256);
    launch(
        if labeled { start.label_list(args.labels)? } else { start },
        &table.training,
        format!("distill {}", args.student),
        |run, device| {
            let seed = subset_seed(config.seed, args.subset);
            let setup = Setup::open(config, device, seed, |data| data.expect_test("distillation"))?
                .among(&args.common.group)?;
            teacher.expect_channels(setup.train.channels())?;
            let teacher = teacher.for_classes(&setup.class_names)?;
            setup.keep_classes(run)?;
            setup.keep_held_out(run)?;
            let spec = match &table.model {
                // Self-distillation: the same network, classifier and head layer included.
                None => ModelSpec { image_size: setup.size(), ..teacher.spec.clone() },
                Some(model) => setup.spec(model, setup.classes, 0),
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
            let known = if labeled { setup.labels(args.labels)?.indices } else { Vec::new() };
            let samples = if table.unlabeled { (0..setup.train.len() as u32).collect() } else { known.clone() };
            let (student, teacher) = (setup.place(student)?, setup.place(teacher.model()?)?);
            let loss = Distill::new(teacher, (table.temperature, table.teacher_weight), known);
            let examples = samples.len();
            let (crops, batches) = ((table.min_area, table.color_strength), (table.training.batch, Purpose::Distill));
            let loader = setup.loader(samples, crops, batches);
            setup.plan(student, loader, examples, loss)
        },
        classifier_result,
    )
}
