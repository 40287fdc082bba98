//! What a run's own files say of its checkpoint.

use anyhow::{Context, Result, bail};
use serde_json::Value as Json;
use simclr_core::config::LabelAmount;
use simclr_core::hub::is_hub_path;
use simclr_core::run::checkpoint::{self, Loaded};
use simclr_core::run::layout;
use simclr_core::stages::{self, Method, Stage};
use simclr_core::{bounds, disk};
use simclr_model::{ModelSpec, SimClr};
use std::path::{Path, PathBuf};

/// How far above a run its experiment's report is looked for: `OUT/labels-0.1/subset-0/finetuned`.
const LEVELS: usize = 4;

/// A checkpoint and what is known of it.
pub struct Facts {
    /// Its weights.
    pub weights: PathBuf,
    /// SHA-256 of them.
    pub sha256: String,
    /// Its network.
    pub spec: ModelSpec,
    /// How many numbers it holds, running statistics aside.
    pub parameters: usize,
    /// Of the run that made it, where the checkpoint stands in one.
    pub run: Option<RunFacts>,
}

/// What a run keeps beside its checkpoint.
pub struct RunFacts {
    /// `manifest.json`: what decided the result.
    pub manifest: Json,
    /// `result.json`: what came out.
    pub result: Json,
    /// `config.toml`: the whole experiment.
    pub config: toml::Table,
    /// Rows of the experiment's `results.json` that are about this run; none where it stands alone.
    pub rows: Vec<(Method, Json)>,
    /// What it is a run of.
    pub stage: &'static Stage,
}

impl Facts {
    /// Reads a run, a checkpoint folder or a `model.safetensors`.
    ///
    /// # Errors
    /// When there is no checkpoint, or a file of it is damaged.
    pub fn read(source: &Path) -> Result<Self> {
        if source.to_str().is_some_and(is_hub_path) {
            bail!("{}: is on the hub already; name a folder of this machine", source.display())
        }
        let weights = checkpoint::find(source)?;
        let Loaded { tensors, sha256, config: json, file } = checkpoint::load(&weights)?;
        let spec = ModelSpec::from_json(&json, &file.with_file_name(layout::CONFIG))?;
        SimClr::expect(&spec, &tensors).with_context(|| format!("loading {}", file.display()))?;
        let trained = tensors.iter().filter(|(name, _)| !name.contains(".running_"));
        let parameters = trained.map(|(_, tensor)| tensor.elem_count()).sum();
        let run = weights.parent().and_then(Path::parent).filter(|run| run.join(layout::MANIFEST).is_file());
        let run = match run {
            Some(run) if weights.parent().is_some_and(|p| p.ends_with(layout::CHECKPOINT)) => {
                Some(RunFacts::read(run)?)
            }
            _ => None,
        };
        Ok(Self { weights, sha256, spec, parameters, run })
    }
}

impl RunFacts {
    fn read(run: &Path) -> Result<Self> {
        let result = run.join(layout::RESULT);
        if !result.is_file() {
            bail!("{}: this run is not finished (no {}); resume it first", run.display(), layout::RESULT)
        }
        let path = run.join(layout::MANIFEST);
        let (manifest, result) = (disk::read_json(&path)?, disk::read_json(&result)?);
        let name = manifest["stage"].as_str().unwrap_or_default();
        let stage = stages::named(name).with_context(|| format!("{}: no stage called {name:?}", path.display()))?;
        let path = run.join(layout::EXPERIMENT);
        let text = disk::read_small_text(&path, bounds::SMALL_FILE)?;
        let config = text.parse().with_context(|| format!("{} is damaged", path.display()))?;
        let rows = rows(run, stage, &manifest)?;
        Ok(Self { manifest, result, config, rows, stage })
    }

    /// How many of the training labels the run saw, where it saw any.
    pub fn labels(&self) -> Option<LabelAmount> {
        amount(&self.manifest)
    }

    /// The dataset's name in the experiment.
    pub fn dataset(&self) -> &str {
        self.manifest["config"]["data"]["dataset"].as_str().unwrap_or("unknown")
    }
}

/// The amount of labels that a manifest or a row of a report names.
fn amount(of: &Json) -> Option<LabelAmount> {
    serde_json::from_value(of["labels"].clone()).ok()
}

/// The rows of the experiment's report that are about this run.
fn rows(run: &Path, stage: &'static Stage, manifest: &Json) -> Result<Vec<(Method, Json)>> {
    let run = std::path::absolute(run).context("the run's place")?;
    let place = |dir: &Path| dir.join(layout::REPORT).join(layout::RESULTS);
    let reports = run.ancestors().skip(1).take(LEVELS).map(place);
    let Some(report) = reports.into_iter().find(|path| path.is_file()) else { return Ok(Vec::new()) };
    let all = disk::read_json(&report)?;
    let labels = amount(manifest);
    let methods = Method::of(stage, manifest["student"].as_str());
    let ours = |row: &Json| {
        let method = methods.iter().find(|method| row["name"] == method.to_string())?;
        let same = labels.is_none() || labels == amount(row);
        same.then(|| (method.clone(), row.clone()))
    };
    Ok(all["rows"].as_array().into_iter().flatten().filter_map(ours).collect())
}
