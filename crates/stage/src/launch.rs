//! From the command line to a finished run folder: open, train, write the result.

use crate::held_out::{TOP1, TOP5};
use crate::weights::used_parameters;
use anyhow::{Context, Result};
use candle_core::{DType, Device};
use serde_json::{Map, Value as Json, json};
use simclr_core::cli::{CommonArgs, device_name, vector_unit};
use simclr_core::config::{Config, Dtype, TrainingConfig};
use simclr_core::run::{Opened, Run, RunOptions};
use simclr_core::train::{Outcome, Task, TrainOptions, train};
use simclr_model::SimClr;

/// How this run's networks store their maps: as the experiment says, or as f32, with one message, on a processor that
/// does not multiply bf16.
pub fn maps(config: &Config, device: &Device) -> DType {
    match (config.dtype, device.is_cuda() || simclr_ops::cpu::multiplies_bf16().is_some()) {
        (Dtype::F32, _) => DType::F32,
        (Dtype::Bf16, true) => DType::BF16,
        (Dtype::Bf16, false) => {
            tracing::warn!("dtype bf16: this processor has neither AMX-BF16 nor AVX512-BF16; computing in f32");
            DType::F32
        }
    }
}

/// What a stage's run is, before anything is loaded.
pub struct Launch<'a> {
    /// The command line.
    pub args: &'a CommonArgs,
    /// The experiment.
    pub config: &'a Config,
    /// The stage's name.
    pub stage: &'static str,
    /// The tables of the experiment that decide the result.
    pub matters: Json,
    /// Names and SHA-256 of files that it starts from.
    pub inputs: Vec<(String, String)>,
    /// Whatever else decides the result.
    pub extra: Map<String, Json>,
}

/// What to train, once the run folder is open.
pub struct Plan<'a, T> {
    /// The task.
    pub task: T,
    /// How it optimises.
    pub training: &'a TrainingConfig,
    /// Images in an epoch.
    pub examples: usize,
    /// What progress is called.
    pub title: String,
}

/// Opens the run folder; `None` when it holds this run already, finished.
///
/// # Errors
/// When the experiment names a dataset or a transform that there is not, or the folder holds something else.
pub fn open(launch: Launch<'_>) -> Result<Option<Run>> {
    let Launch { args, config, stage, mut matters, inputs, extra } = launch;
    simclr_data::check(config)?;
    // A run of the default keeps the manifest that it had before there was a choice.
    if config.dtype != Dtype::default() {
        matters["dtype"] = json!(config.dtype);
    }
    Ok(match Run::open(RunOptions { out: &args.out, stage, config, matters, inputs, extra, resume: args.resume })? {
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

/// Opens the device and the run folder, trains unless a finished run of the same experiment is there, and writes `result.json`.
///
/// # Errors
/// When the folder holds something else, or a part of the stage fails.
pub fn launch<'p, T: Task>(
    launch: Launch<'_>,
    plan: impl FnOnce(&Run, &Device) -> Result<Plan<'p, T>>,
    result: impl FnOnce(&T, &Outcome) -> Result<Json>,
) -> Result<()> {
    let (args, config, stage, mut facts) = (launch.args, launch.config, launch.stage, launch.extra.clone());
    let device = args.device.open()?;
    let Some(mut run) = open(launch)? else { return Ok(()) };
    let Plan { mut task, training, examples, title } = plan(&run, &device)?;
    let (prefetch, progress) = (config.data.prefetch, args.progress);
    let options = TrainOptions { training, examples, prefetch, progress, title, stop_after: None };
    let outcome = train(&mut task, &options, &mut run)?;
    facts.insert("stage".into(), json!(stage));
    facts.insert("examples".into(), json!(examples));
    facts.insert("device".into(), json!(device_name(&device)));
    facts.insert("simd".into(), json!(vector_unit()));
    facts.insert("steps".into(), json!(outcome.steps));
    facts.insert("seconds".into(), json!(outcome.seconds));
    let images = (outcome.steps * training.batch as u64) as f64;
    facts.insert("images_per_s".into(), json!(images / outcome.seconds.max(1e-9)));
    if let Json::Object(more) = result(&task, &outcome)? {
        facts.extend(more);
    }
    run.finish(&Json::Object(facts))
}
