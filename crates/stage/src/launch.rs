//! From the command line to a finished run folder: open, train, write the result.

use crate::checkpoint::used_parameters;
use crate::eval_set::{TOP1, TOP5};
use crate::plan::{Plan, StageLoss};
use crate::room;
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use simclr_core::cli::{CommonArgs, device_name, vector_unit};
use simclr_core::config::{Config, Dtype, LabelAmount, TrainingConfig};
use simclr_core::disk::file_sha256;
use simclr_core::run::{Extend, Opened, Run, RunOptions};
use simclr_core::train::{Outcome, Schedule, Stopped, TrainOptions, train};
use simclr_model::SimClr;

/// What a stage's run is, before anything is loaded.
pub struct Launch<'a> {
    /// The command line.
    pub args: &'a CommonArgs,
    /// The experiment.
    pub config: &'a Config,
    /// The stage's name.
    pub stage: &'static str,
    /// The tables of the experiment that decide the result.
    pub identity: Json,
    /// Names and SHA-256 of files that it starts from.
    pub inputs: Vec<(String, String)>,
    /// Whatever else decides the result.
    pub extra: Map<String, Json>,
}

impl<'a> Launch<'a> {
    /// A run that the seed and the images decide, and what is added.
    pub fn new(args: &'a CommonArgs, config: &'a Config, stage: &'static str) -> Self {
        let identity = json!({"seed": config.seed, "data": config.data});
        Self { args, config, stage, identity, inputs: Vec::new(), extra: Map::new() }
    }

    /// The same, whatever labels there are and wherever they come from: they may be added later.
    pub fn without_labels(mut self) -> Self {
        if let Some(data) = self.identity["data"].as_object_mut() {
            data.retain(|key, _| !["labels", "label_columns"].contains(&key.as_str()));
        }
        self
    }

    /// The same, decided by a table of the experiment, too.
    pub fn table(mut self, name: &str, table: impl Serialize) -> Self {
        self.identity[name] = json!(table);
        self
    }

    /// The same, decided by a file with this SHA-256, too.
    pub fn input(mut self, name: &str, sha256: &str) -> Self {
        self.inputs.push((name.into(), sha256.into()));
        self
    }

    /// The same, decided by an option of the command line, too.
    pub fn option(mut self, name: &str, value: impl Serialize) -> Self {
        self.extra.insert(name.into(), json!(value));
        self
    }

    /// The same, of a stage that sees single views of labeled images: a subset of so many of them.
    pub fn on_labels(self, amount: LabelAmount, subset: usize) -> Self {
        let (eval, augment) = (&self.config.eval, &self.config.augment);
        let launch = self.table("eval_view", (eval.crop, eval.resize)).table("flip", augment.flip);
        launch.option("labels", amount).option("subset", subset)
    }

    /// The same, decided by the table of labels and by the list of labeled images, too, where the experiment has them.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn label_list(self, amount: LabelAmount) -> Result<Self> {
        let data = &self.config.data;
        let files = [
            ("labels", "data.labels", data.labels.as_ref()),
            ("label list", "data.lists", data.list(amount).map(|list| &list.file)),
        ];
        files.into_iter().try_fold(self, |start, (name, key, file)| match file {
            None => Ok(start),
            Some(file) => Ok(start.input(name, &file_sha256(file).context(key)?)),
        })
    }
}

/// Opens the run folder of a stage that trains no network; `None` when it holds this run already, finished.
///
/// # Errors
/// When the experiment names a dataset or a transform that there is not, or the folder holds something else.
pub fn open(launch: Launch<'_>) -> Result<Option<Run>> {
    ensure!(
        !launch.args.extend,
        "--extend: this stage measures a network; pretraining, fine-tuning and distillation go on"
    );
    open_as(launch, None)
}

/// Opens the run folder, as [`open`] does, of a stage that trains as the table says.
fn open_as(launch: Launch<'_>, training: Option<&TrainingConfig>) -> Result<Option<Run>> {
    let Launch { args, config, stage, mut identity, inputs, extra } = launch;
    simclr_data::check(config)?;
    simclr_model::check_backbone(&config.model.backbone)?;
    for student in config.distill.values().filter_map(|student| student.model.as_ref()) {
        simclr_model::check_backbone(&student.backbone)?;
    }
    // A run of the default keeps the manifest that it had before there was a choice.
    if config.dtype != Dtype::default() {
        identity["dtype"] = json!(config.dtype);
    }
    let steps = |examples: usize| training.map_or(0, |training| Schedule::new(training, examples).total);
    let (resume, extend) = (args.resume, args.extend.then_some(Extend { steps: &steps }));
    let (out, group) = (&args.out, &args.group);
    Ok(match Run::open(RunOptions { out, stage, config, identity, inputs, extra, resume, extend, group })? {
        Opened::Done(_) => {
            tracing::info!("{} holds this run already, finished", args.out.display());
            None
        }
        Opened::Fresh(run) | Opened::Resume(run) => Some(run),
    })
}

/// What `result.json` says of a classifier: its last evaluation, that at the end of training.
///
/// # Errors
/// When that evaluation did not measure accuracy.
pub fn classifier_result(model: &SimClr, outcome: &Outcome) -> Result<Json> {
    let figure = |name: &str| {
        let found = outcome.metrics.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| *value).with_context(|| format!("the last evaluation has no {name}"))
    };
    Ok(json!({"top1": figure(TOP1)?, "top5": figure(TOP5)?, "params": used_parameters(model)}))
}

/// Opens the device and the run folder, trains unless a finished run of the same experiment is there, and writes
/// `result.json`. `title` is what progress is called.
///
/// # Errors
/// When the folder holds something else, or a part of the stage fails.
pub fn launch<L: StageLoss>(
    launch: Launch<'_>,
    training: &TrainingConfig,
    title: String,
    plan: impl FnOnce(&Run, &Device) -> Result<Plan<L>>,
    result: impl FnOnce(&SimClr, &Outcome) -> Result<Json>,
) -> Result<()> {
    let (args, config, stage, mut facts) = (launch.args, launch.config, launch.stage, launch.extra.clone());
    let device = args.device.open()?;
    let Some(mut run) = open_as(launch, Some(training))? else { return Ok(()) };
    let mut plan = plan(&run, &device)?;
    if training.recompute && !plan.model.encoder.recomputes() {
        let name = &plan.model.spec.model.backbone.name;
        tracing::warn!("recompute: the backbone \"{name}\" keeps its activations all the same");
    }
    let group = args.group.on(&device)?;
    if !group.is_alone() && !device.is_cpu() {
        match group.joins_gpus() {
            true => tracing::info!("{} ranks, whose GPUs are joined by NCCL", group.size()),
            false => tracing::warn!(
                "{} ranks, whose numbers go from GPU to GPU by way of the processors: NCCL needs a GPU for each rank, and a \
                 program that was built with --features nccl",
                group.size()
            ),
        }
    }
    if device.is_cpu() {
        let images = group.part(training.batch).len();
        room::expect(&plan.model, config.data.image_size, images, (stage, training, config.dtype))?;
    }
    let (examples, prefetch, progress) = (plan.examples, config.data.prefetch, args.progress);
    let options = TrainOptions { training, examples, prefetch, progress, title, group: &group, stop_after: None };
    let outcome = train(&mut plan, &options, &mut run)?;
    if let Some(engines) = simclr_ops::engines::summary() {
        tracing::info!("{engines}");
    }
    facts.insert("examples".into(), json!(examples));
    facts.insert("device".into(), json!(device_name(&device)));
    facts.insert("simd".into(), json!(vector_unit()));
    if !args.group.is_alone() {
        facts.insert("ranks".into(), json!(args.group.size()));
    }
    facts.insert("steps".into(), json!(outcome.steps));
    facts.insert("seconds".into(), json!(outcome.seconds));
    let images = (outcome.steps * training.batch as u64) as f64;
    facts.insert("images_per_s".into(), json!(images / outcome.seconds.max(1e-9)));
    if let Some(best) = outcome.best {
        facts.insert("best".into(), json!(best));
    }
    if let Some(Stopped { length, patience }) = outcome.stopped {
        let best = outcome.best.map_or(0, |best| best.step);
        let why = format!("{patience} evaluations in a row were no better than that after step {best}");
        tracing::info!("stopped after step {} of {length}: {why}", outcome.steps);
        facts.insert("stopped".into(), json!({"step": outcome.steps, "of": length, "why": why}));
    }
    if let Json::Object(more) = result(&plan.model, &outcome)? {
        facts.extend(more);
    }
    run.finish(&Json::Object(facts))
}
