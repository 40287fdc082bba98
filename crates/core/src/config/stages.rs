//! The tables of the stages in an experiment file: `[pretrain]`, `[finetune]`, `[supervised]`, `[distill.NAME]`, and what
//! `[reproduce]` runs of them.

use super::model::ModelConfig;
use super::named::Named;
use super::training::TrainingConfig;
use crate::amount::LabelAmount;
use crate::stages::FINETUNED;
use crate::value::{at_least_one, not_negative, positive, share};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// What `cargo xtask reproduce` runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReproduceConfig {
    /// Amounts of labels, such as `0.01`, `"10-per-class"`, `"all"`; with none pretraining alone is run.
    pub labels: Vec<LabelAmount>,
    /// Label subsets for each amount; figures are their mean.
    pub subsets: usize,
}

impl Default for ReproduceConfig {
    fn default() -> Self {
        Self { labels: [0.01, 0.1].map(LabelAmount::Share).to_vec(), subsets: 1 }
    }
}

/// Step one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// What is lowered: `"nt-xent"`, or one of `simclr_pretrain`'s other objectives, such as `{ name = "...", key = value }`.
    #[serde(default = "nt_xent", skip_serializing_if = "is_nt_xent")]
    pub loss: Named,
    /// Temperature of the softmax over similarities.
    #[serde(default = "temperature")]
    pub temperature: f64,
    /// How the linear head that watches pretraining reads the features.
    #[serde(default)]
    pub online_head: OnlineHead,
    /// How it optimises.
    pub training: TrainingConfig,
}

/// What the online head reads: a linear classifier that learns from labels beside pretraining, and shapes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnlineHead {
    /// Features normalised over the batch, on which it cannot diverge. The checkpoint's classifier reads them as they are.
    #[default]
    Normalized,
    /// Features as they are, as in the reference: at high learning rates its loss diverges.
    Reference,
}

fn nt_xent() -> Named {
    Named::new("nt-xent")
}
fn is_nt_xent(loss: &Named) -> bool {
    loss.is_plain("nt-xent")
}
fn temperature() -> f64 {
    0.1
}

/// Step two, and the supervised baseline.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinetuneConfig {
    /// The head layer that the classifier stands on: 0 the encoder, k the head's k-th layer, -1 its last.
    #[serde(default)]
    pub proj_selector: i64,
    /// Freeze the stem and the first groups: -1 nothing, 0 the stem, k up to group k.
    #[serde(default = "minus_one")]
    pub freeze_after: i64,
    /// Smallest share of the image's area that a crop keeps.
    #[serde(default = "min_area")]
    pub min_area: f32,
    /// Colour jitter strength; the paper uses none here.
    #[serde(default)]
    pub color_strength: f32,
    /// How it optimises.
    pub training: TrainingConfig,
    /// Overrides by amount of labels: `labels`, and any key of this table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<toml::Table>,
}

fn minus_one() -> i64 {
    -1
}
fn min_area() -> f32 {
    0.08
}

/// Step three: one student.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// The student's network; the teacher's own shape where it is missing (self-distillation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelConfig>,
    /// Who teaches in `reproduce`: `finetuned`, or another student's name.
    #[serde(default = "finetuned")]
    pub teacher: String,
    /// Start from the teacher's weights where shapes agree, instead of from scratch.
    #[serde(default)]
    pub init_from_teacher: bool,
    /// Temperature of both softmaxes.
    #[serde(default = "one")]
    pub temperature: f64,
    /// Share `a` of the teacher in the loss: (1 - a) labels + a teacher. 1 uses no labels.
    #[serde(default = "one")]
    pub teacher_weight: f64,
    /// Smallest share of the image's area that a crop keeps.
    #[serde(default = "min_area")]
    pub min_area: f32,
    /// Colour jitter strength; the paper uses none here.
    #[serde(default)]
    pub color_strength: f32,
    /// How it optimises.
    pub training: TrainingConfig,
    /// Overrides by amount of labels: `labels`, and any key of this table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<toml::Table>,
}

fn finetuned() -> String {
    FINETUNED.into()
}

fn one() -> f64 {
    1.0
}

impl ReproduceConfig {
    /// Checks every value that its type does not.
    pub(super) fn check(&self) -> Result<()> {
        for labels in &self.labels {
            labels.check("reproduce.labels holds")?;
        }
        at_least_one("reproduce.subsets", self.subsets)
    }
}

impl PretrainConfig {
    /// Checks every value that its type does not.
    pub(super) fn check(&self) -> Result<()> {
        positive("pretrain.temperature", self.temperature)?;
        self.training.check("pretrain", true)
    }
}

/// Checks how a stage draws its labeled views.
fn check_views(key: &str, min_area: f32, color_strength: f32) -> Result<()> {
    share(&format!("{key}.min_area"), f64::from(min_area))?;
    not_negative(&format!("{key}.color_strength"), f64::from(color_strength))
}

impl FinetuneConfig {
    /// Checks every value that its type does not; `key` is the path of the table. How many groups and head layers there
    /// are to freeze or to stand on is known to the network, which says so.
    pub(super) fn check(&self, key: &str) -> Result<()> {
        check_views(key, self.min_area, self.color_strength)?;
        if self.freeze_after < -1 {
            bail!("{key}.freeze_after = {}: -1 freezes nothing, 0 the stem, k up to group k", self.freeze_after)
        }
        self.training.check(key, false)
    }
}

impl DistillConfig {
    /// Checks every value that its type does not; `key` is the path of the table.
    pub(super) fn check(&self, key: &str) -> Result<()> {
        if let Some(model) = &self.model {
            model.check(&format!("{key}.model"))?;
        }
        positive(&format!("{key}.temperature"), self.temperature)?;
        share(&format!("{key}.teacher_weight"), self.teacher_weight)?;
        check_views(key, self.min_area, self.color_strength)?;
        self.training.check(key, false)
    }
}
