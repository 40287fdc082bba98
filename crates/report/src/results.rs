//! The rows of the results: what every stage measured, and mean and deviation over label subsets.

use crate::plan::{Job, Row, by_name};
use crate::statistics::{deviation, mean};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use simclr_core::config::{Config, LabelAmount};
use simclr_core::disk;
use simclr_core::run::layout::RESULT;
use simclr_core::stages::{Method, STAGES};
use std::path::Path;

/// What a run measured: the contents of `results.json`.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// Name of the configuration.
    pub config: String,
    /// What the networks were trained on.
    pub device: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Wall time of all finished stages together.
    pub seconds: f64,
    /// Stages of the plan that have not finished; empty for a whole run.
    pub missing: Vec<String>,
    /// One a method and amount of labels.
    pub rows: Vec<ResultRow>,
}

/// One method at one amount of labels. Accuracies are fractions of 1, means over `n` label subsets.
#[derive(Clone, Debug, Serialize)]
pub struct ResultRow {
    /// `supervised`, `finetuned`, `distilled-NAME`, `linear-eval` or `knn`.
    #[serde(rename = "name", serialize_with = "by_name")]
    pub method: Method,
    /// How many of the training labels it saw.
    pub labels: LabelAmount,
    /// The most likely class is right.
    pub top1: f64,
    /// The right class is among the five most likely.
    pub top5: f64,
    /// Trained parameters of the network.
    pub params: u64,
    /// Wall time of one run.
    pub seconds: f64,
    /// Runs.
    pub n: usize,
    /// Sample standard deviation of top-1; nothing for a single run.
    pub top1_std: Option<f64>,
    /// Top-1 of every run.
    pub top1_each: Vec<f64>,
}

#[derive(Deserialize)]
struct Accuracy {
    top1: f64,
    top5: f64,
}

/// A stage's `result.json`, as far as the report needs it.
#[derive(Deserialize)]
struct StageResult {
    seconds: f64,
    #[serde(default)]
    params: u64,
    device: Option<String>,
    #[serde(flatten)]
    figures: Json,
}

impl StageResult {
    fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let parsed = serde_json::from_value(disk::read_json(path)?);
        parsed.map(Some).with_context(|| format!("{} is not the result of a stage", path.display()))
    }

    /// The accuracy at `key`, or at the root where that is empty; none where it was not measured.
    fn accuracy(&self, key: &str) -> Option<Accuracy> {
        let at = if key.is_empty() { &self.figures } else { &self.figures[key] };
        Accuracy::deserialize(at).ok()
    }
}

impl Results {
    /// Reads the `result.json` of every job.
    ///
    /// # Errors
    /// When there is none at all, or one that cannot be read or lacks its accuracy.
    pub fn gather(config: &Config, jobs: &[Job], run: &Path) -> Result<Self> {
        let (mut seconds, mut device, mut missing) = (0.0, None, Vec::new());
        let mut rows: Vec<ResultRow> = Vec::new();
        for job in jobs {
            let path = job.dir.join(RESULT);
            let Some(result) = StageResult::read(&path)? else {
                missing.push(job.id.clone());
                continue;
            };
            seconds += result.seconds;
            device = device.or_else(|| result.device.clone());
            for row in job.stage.rows {
                match (result.accuracy(row.key), &job.row) {
                    (Some(accuracy), Some(row)) => ResultRow::add(&mut rows, row, &accuracy, &result),
                    (Some(accuracy), None) => {
                        let method = Method { stage: job.stage, row, student: None };
                        ResultRow::add(
                            &mut rows,
                            &Row { method, labels: LabelAmount::ALL, subset: 0 },
                            &accuracy,
                            &result,
                        );
                    }
                    (None, None) => {}
                    (None, Some(_)) => {
                        bail!("{}: no `top1` and `top5`; remove the folder {} and run again", path.display(), job.id)
                    }
                }
            }
        }
        if missing.len() == jobs.len() {
            bail!("{}: no stage of this experiment has finished there; run it first", run.display())
        }
        // The plan trains every baseline first; readers want the methods of one amount together, and what was measured
        // of other stages' checkpoints last.
        let place = |row: &ResultRow| STAGES.iter().position(|stage| stage.name == row.method.stage.name);
        rows.sort_by(|a, b| {
            let by_labels = || a.labels.order(&b.labels).then(place(a).cmp(&place(b)));
            match (a.is_of_others(), b.is_of_others()) {
                (false, false) => by_labels(),
                (a, b) => a.cmp(&b),
            }
        });
        rows.iter_mut().for_each(ResultRow::finish);
        let device = device.unwrap_or_else(|| "unknown".into());
        Ok(Self { config: config.name.clone(), device, seed: config.seed, seconds, missing, rows })
    }
}

impl ResultRow {
    /// Whether it was measured on the checkpoint of another stage, by all labels.
    pub fn is_of_others(&self) -> bool {
        self.method.stage.measured().is_some()
    }

    /// Adds one run to its row; sums stand in the means' places until [`finish`](Self::finish).
    fn add(rows: &mut Vec<Self>, row: &Row, accuracy: &Accuracy, result: &StageResult) {
        let at = rows.iter().position(|r| r.method == row.method && r.labels == row.labels).unwrap_or_else(|| {
            rows.push(Self {
                method: row.method.clone(),
                labels: row.labels,
                top1: 0.0,
                top5: 0.0,
                params: result.params,
                seconds: 0.0,
                n: 0,
                top1_std: None,
                top1_each: Vec::new(),
            });
            rows.len() - 1
        });
        let r = &mut rows[at];
        r.n += 1;
        r.top5 += accuracy.top5;
        r.seconds += result.seconds;
        r.top1_each.push(accuracy.top1);
    }

    fn finish(&mut self) {
        let n = self.n as f64;
        self.top5 /= n;
        self.seconds /= n;
        self.top1 = mean(&self.top1_each);
        self.top1_std = deviation(&self.top1_each);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::stages;

    fn add(rows: &mut Vec<ResultRow>, labels: f64, subset: usize, top1: f64) {
        let method = Method::of(stages::named(stages::FINETUNE).unwrap(), None).remove(0);
        let row = Row { method, labels: LabelAmount::Share(labels), subset };
        let result = StageResult { seconds: 10.0, params: 7, device: None, figures: Json::Null };
        ResultRow::add(rows, &row, &Accuracy { top1, top5: 0.9 }, &result);
    }

    #[test]
    fn mean_and_sample_deviation_over_subsets() {
        let mut rows = Vec::new();
        for (subset, top1) in [0.5, 0.6, 0.7].into_iter().enumerate() {
            add(&mut rows, 0.1, subset, top1);
        }
        add(&mut rows, 1.0, 0, 0.8);
        rows.iter_mut().for_each(ResultRow::finish);
        assert_eq!((rows.len(), rows[0].n, rows[1].n), (2, 3, 1));
        assert!((rows[0].top1 - 0.6).abs() < 1e-12 && (rows[0].top1_std.unwrap() - 0.1).abs() < 1e-12);
        assert!((rows[0].top5 - 0.9).abs() < 1e-12 && (rows[0].seconds - 10.0).abs() < 1e-12);
        assert_eq!(rows[1].top1_std, None);
    }
}
