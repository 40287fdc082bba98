//! What a study came to, for programs: the contents of `results/NAME-SCALE.json`.

use serde::{Deserialize, Serialize};
use simclr_core::config::LabelAmount;
use simclr_core::stages::STAGES;
use std::collections::BTreeMap;

/// What a study came to at one scale. Accuracies are fractions of 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// Its name, `model-size`.
    pub study: String,
    /// `small`, `medium` or `paper`.
    pub scale: String,
    /// For people.
    pub title: String,
    /// What it asks, in a sentence or two.
    pub question: String,
    /// The base experiment, as the study names it.
    pub base: String,
    /// Dataset of the base, and its test images.
    pub dataset: String,
    /// What varies, in the order of the file.
    pub axes: Vec<Axis>,
    /// What ran where.
    pub made: Made,
    /// Every combination, in the order of the grid.
    pub cells: Vec<Cell>,
    /// The paper's claims, and what became of them here.
    pub claims: Vec<Claim>,
    /// What else follows, in sentences: of an ablation, which setting to take.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conclusions: Vec<String>,
    /// The paper's values of the same comparison.
    pub published: Vec<Published>,
    /// Runs that have not finished; empty for a whole study.
    pub missing: Vec<String>,
}

/// What varies between cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// `width`.
    pub name: String,
    /// For people.
    pub title: String,
    /// Names of its values, in their order.
    pub values: Vec<String>,
}

/// With what, where and how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// The commit of the code, with `+` behind it where files had changed since; `unknown` outside a repository.
    pub commit: String,
    /// The revision of numbers (`NUMERICS`): results of another are of another code.
    pub numerics: u32,
    /// The processor and its cores, and the GPU where one computed.
    pub hardware: String,
    /// Vector units that computed, such as `avx512`.
    pub simd: String,
    /// The day, `2026-11-28`.
    pub date: String,
    /// Wall time of all runs together, seconds.
    pub seconds: f64,
    /// Runs of stages, each once however many cells share it.
    pub runs: usize,
    /// How many runs computed at the same time.
    pub at_once: usize,
}

/// One combination of the axes' values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// The values with `-` between: `18-0.25`; unique.
    pub id: String,
    /// By the axis' name.
    pub values: BTreeMap<String, String>,
    /// Where its experiment differs from the base: the key, its value there and here, as TOML.
    pub differs: Vec<[String; 3]>,
    /// The work of its runs with one seed, as the share of the first cell's; shared runs count in each.
    pub cost: f64,
    /// What was measured.
    pub measures: Vec<Measure>,
}

/// The accuracy of one method on one amount of labels, seed by seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// As in the results of an experiment: `finetuned`, `supervised`, `distilled-NAME`, `linear-eval`, `knn`.
    pub method: String,
    /// How many labels.
    pub labels: LabelAmount,
    /// The seeds, in the order of `top1`.
    pub seeds: Vec<u64>,
    /// Top-1 of each.
    pub top1: Vec<f64>,
    /// Parameters of the network.
    pub params: u64,
    /// Wall time of a run, seconds: the mean over seeds.
    pub seconds: f64,
    /// Folders of the runs, in the order of `seeds`, below the pool; what learning curves are read from.
    pub runs: Vec<String>,
}

impl Measure {
    /// Whether it is the accuracy of a network's own classifier, whose runs hold that network.
    pub fn is_of_a_network(&self) -> bool {
        STAGES.iter().all(|stage| stage.measured().is_none() || stage.rows.iter().all(|row| row.name != self.method))
    }
}

/// A claim, as a difference in points of top-1 that should be above 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// In words.
    pub text: String,
    /// What is subtracted from what, in words.
    pub difference: String,
    /// The mean over seeds, in points (hundredths of accuracy).
    pub mean: f64,
    /// The 95 % interval of that mean by Student's t over seeds, in points.
    pub interval: [f64; 2],
    /// Seeds.
    pub n: usize,
    /// What follows from the interval.
    pub verdict: Verdict,
    /// The paper's own difference, in points, where it gives one.
    pub published: Option<f64>,
}

/// What a study says of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The interval lies above 0.
    Confirmed,
    /// The interval holds 0.
    NotSeen,
    /// The interval lies below 0.
    Opposite,
    /// Too few seeds have finished for an interval.
    Open,
}

/// A table of the paper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// `Table 1 of the paper: top-1 on ImageNet`.
    pub title: String,
    /// Heads of the columns.
    pub columns: Vec<String>,
    /// Cells, row by row.
    pub rows: Vec<Vec<String>>,
}
