//! The tables of the stages in an experiment file: `[pretrain]`, `[finetune]`, `[supervised]`, `[distill.NAME]`, and what
//! `[reproduce]` runs of them.

use super::augment::STRENGTH;
use super::eval::TEMPERATURE;
use super::model::ModelConfig;
use super::named::Named;
use super::training::TrainingConfig;
use crate::amount::LabelAmount;
use crate::bounds;
use crate::keys::Range;
use crate::stages::FINETUNED;
use crate::{table, words};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

table! {
    /// What `cargo xtask reproduce` runs.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct ReproduceConfig with defaults {
        /// Amounts of labels, such as `0.01`, `"10-per-class"`, `"all"`; with none pretraining alone is run.
        pub labels: Vec<LabelAmount> = [0.01, 0.1].map(LabelAmount::Share).to_vec(), from "SimCLRv2, section 3.1 (1 % and 10 %)";
        /// Label subsets for each amount; figures are their mean.
        pub subsets: usize = 1, in Range::of(&bounds::COUNT);
    }
    also relations
}

table! {
    /// Step one.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct PretrainConfig {
        /// What is lowered: `"nt-xent"`, or one of `simclr_pretrain`'s other objectives, such as `{ name = "...", key = value }`.
        #[serde(default = "nt_xent", skip_serializing_if = "is_nt_xent")]
        pub loss: Named = nt_xent(), from "Chen et al. 2020, equation 1";
        /// Temperature of the softmax over similarities.
        #[serde(default = "temperature")]
        pub temperature: f64 = temperature(), in TEMPERATURE, from "SimCLRv2, section 3.1 (0.1)";
        /// How the linear head that watches pretraining reads the features.
        #[serde(default)]
        pub online_head: OnlineHead = OnlineHead::Normalized;
        /// How it optimises.
        pub training: TrainingConfig;
    }
}

words! {
    /// What the online head reads: a linear classifier that learns from labels beside pretraining, and shapes nothing.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum OnlineHead {
        /// Features normalised over the batch, on which it cannot diverge. The checkpoint's classifier reads them as they are.
        #[default]
        Normalized = "normalized",
        /// Features as they are, as in the reference: at high learning rates its loss diverges.
        Reference = "reference",
    }
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

table! {
    /// Step two, and the supervised baseline.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct FinetuneConfig {
        /// The head layer that the classifier stands on: 0 the encoder, k the head's k-th layer, -1 its last.
        #[serde(default)]
        pub proj_selector: i64 = 0, in SELECTOR, from "SimCLRv2, section 2";
        /// Freeze the stem and the first groups: -1 nothing, 0 the stem, k up to group k.
        #[serde(default = "minus_one")]
        pub freeze_after: i64 = minus_one(), in FREEZE;
        /// Smallest share of the image's area that a crop keeps.
        #[serde(default = "min_area")]
        pub min_area: f32 = min_area(), in Range::SOME_SHARE;
        /// Colour jitter strength; the paper uses none here.
        #[serde(default)]
        pub color_strength: f32 = 0.0, in STRENGTH;
        /// How it optimises.
        pub training: TrainingConfig;
        /// Overrides by amount of labels: `labels`, and any key of this table.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub at: Vec<toml::Table> = Vec::new();
    }
    also relations
}

fn minus_one() -> i64 {
    -1
}
fn min_area() -> f32 {
    0.08
}

table! {
    /// Step three: one student.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct DistillConfig {
        /// The student's network; the teacher's own shape where it is missing (self-distillation).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub model: Option<ModelConfig> = None;
        /// Who teaches in `reproduce`: `finetuned`, or another student's name.
        #[serde(default = "finetuned")]
        pub teacher: String = finetuned();
        /// Start from the teacher's weights where shapes agree, instead of from scratch.
        #[serde(default)]
        pub init_from_teacher: bool = false;
        /// Temperature of both softmaxes.
        #[serde(default = "one")]
        pub temperature: f64 = one(), in TEMPERATURE, from "SimCLRv2, equation 2 (0.1 or 1)";
        /// Share `a` of the teacher in the loss: (1 - a) labels + a teacher. 1 uses no labels.
        #[serde(default = "one")]
        pub teacher_weight: f64 = one(), in Range::SHARE, from "SimCLRv2, equation 3";
        /// Also learns on images whose label is not used; `false` takes the labeled images alone.
        #[serde(default = "yes", skip_serializing_if = "is_yes")]
        pub unlabeled: bool = true, from "SimCLRv2, Table 2";
        /// Smallest share of the image's area that a crop keeps.
        #[serde(default = "min_area")]
        pub min_area: f32 = min_area(), in Range::SOME_SHARE;
        /// Colour jitter strength; the paper uses none here.
        #[serde(default)]
        pub color_strength: f32 = 0.0, in STRENGTH;
        /// How it optimises.
        pub training: TrainingConfig;
        /// Overrides by amount of labels: `labels`, and any key of this table.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub at: Vec<toml::Table> = Vec::new();
    }
    also relations
}

fn yes() -> bool {
    true
}
fn is_yes(value: &bool) -> bool {
    *value
}
fn finetuned() -> String {
    FINETUNED.into()
}

fn one() -> f64 {
    1.0
}

impl ReproduceConfig {
    fn relations(&self, at: &str) -> Result<()> {
        for (i, labels) in self.labels.iter().enumerate() {
            labels.check(&format!("{at}.labels holds"))?;
            ensure!(!self.labels[..i].contains(labels), "{at}.labels holds {labels} twice: name each amount once");
        }
        Ok(())
    }
}

impl FinetuneConfig {
    fn relations(&self, at: &str) -> Result<()> {
        self.training.at_once(at)
    }

    /// Checks what the network must have: a layer of the head to stand on, and groups to freeze. `at` is the path of the table.
    pub(super) fn fits(&self, at: &str, model: &ModelConfig) -> Result<()> {
        let (selector, layers) = (self.proj_selector, model.proj_layers);
        ensure!(
            selector <= layers as i64,
            "{at}.proj_selector = {selector}: must lie in -1 to {layers}: the head has {layers} layers (model.proj_layers)"
        );
        // How many groups another backbone has, it knows itself.
        let (frozen, groups) = (self.freeze_after, BLOCK_GROUPS);
        ensure!(
            !model.is_resnet() || frozen <= groups,
            "{at}.freeze_after = {frozen}: must lie in -1 to {groups}: this encoder has {groups} groups"
        );
        Ok(())
    }
}

impl DistillConfig {
    fn relations(&self, at: &str) -> Result<()> {
        self.training.at_once(at)
    }
}

/// Layers of a head to stand on; those that there are bound it.
const SELECTOR: Range = Range::closed(-1.0, *bounds::PROJECTION_LAYERS.end() as f64);
/// Groups to freeze; those that there are bound it.
const FREEZE: Range = Range::closed(-1.0, 64.0);
/// Groups of a ResNet.
const BLOCK_GROUPS: i64 = 4;
