//! The experiment file: every choice of a run, resolved, checked and written beside its results.
//!
//! Letters: a *fraction* is the share of training labels that a stage may see. `[[finetune.at]]` tables (and those of
//! `supervised` and of each student) override their stage for one fraction.

pub use crate::config_data::{Corrupt, DataConfig, LabelList, MAX_PIXELS};
pub use crate::config_eval::{EvalConfig, LinearConfig, Resize};
use crate::config_file;
pub use crate::config_training::{Dtype, Duration, OptimizerKind, Scaling, TrainingConfig};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// A whole experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Short name; the run folder is called after it.
    pub name: String,
    /// Everything random follows from it.
    #[serde(default)]
    pub seed: u64,
    /// How feature maps are stored and multiplied: `f32` or `bf16`.
    #[serde(default)]
    pub dtype: Dtype,
    /// Where images come from.
    pub data: DataConfig,
    /// The network that is pretrained, and its projection head.
    pub model: ModelConfig,
    /// How the two contrastive views are made.
    #[serde(default)]
    pub augment: AugmentConfig,
    /// What `cargo xtask reproduce` runs.
    #[serde(default)]
    pub reproduce: ReproduceConfig,
    /// Step one.
    pub pretrain: PretrainConfig,
    /// Step two.
    pub finetune: FinetuneConfig,
    /// The baseline: the same network from scratch on the same labels.
    pub supervised: FinetuneConfig,
    /// Step three: students by name (`self`, `small`, ...).
    #[serde(default)]
    pub distill: BTreeMap<String, DistillConfig>,
    /// Linear probe and nearest neighbours.
    #[serde(default)]
    pub eval: EvalConfig,
}

/// The shape of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// 18, 34, 50, 101, 152 or 200.
    pub depth: usize,
    /// Multiplies the 64 base channels; fractions are welcome.
    #[serde(default = "one")]
    pub width: f64,
    /// Selective kernels: ratio of the attention's hidden width, 0 for none (the paper: 0.0625).
    #[serde(default)]
    pub sk_ratio: f64,
    /// Squeeze-and-excitation: ratio of its hidden width, 0 for none.
    #[serde(default)]
    pub se_ratio: f64,
    /// `cifar` (3x3, no pool), `imagenet` (7x7 or three 3x3, max pool) or `auto` (by image size, up to 32 is cifar).
    #[serde(default)]
    pub stem: Stem,
    /// Layers of the projection head.
    #[serde(default = "three")]
    pub proj_layers: usize,
    /// Width of the projection head's output.
    #[serde(default = "proj_dim")]
    pub proj_dim: usize,
}

/// The first layers of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// By image size.
    #[default]
    Auto,
    /// One 3x3 convolution at full resolution.
    Cifar,
    /// A strided 7x7 convolution (three 3x3 with selective kernels) and a max pool.
    Imagenet,
}

fn one() -> f64 {
    1.0
}
fn three() -> usize {
    3
}
fn proj_dim() -> usize {
    128
}

/// The random views of contrastive learning (paper, appendix; "v2" colour jitter).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Smallest share of the image's area that a crop keeps.
    pub min_area: f32,
    /// Strength `s` of the colour jitter.
    pub color_strength: f32,
    /// Probability of the jitter.
    pub color_probability: f32,
    /// Probability of dropping colour.
    pub grayscale_probability: f32,
    /// Probability of Gaussian blur; 0 for small images.
    pub blur_probability: f32,
    /// Mirror half of the views left to right.
    pub flip: bool,
    /// On a GPU, distort the colours of pretraining's views and blur them there, from the same draws: the loader's threads
    /// only crop, resize and flip. Views differ in the last bits. On the CPU the key changes nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_device: bool,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            min_area: 0.08,
            color_strength: 1.0,
            color_probability: 0.8,
            grayscale_probability: 0.2,
            blur_probability: 0.5,
            flip: true,
            on_device: false,
        }
    }
}

/// What `cargo xtask reproduce` runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReproduceConfig {
    /// Label fractions.
    pub labels: Vec<f64>,
    /// Label subsets for each fraction; figures are their mean.
    pub subsets: usize,
}

impl Default for ReproduceConfig {
    fn default() -> Self {
        Self { labels: vec![0.01, 0.1], subsets: 1 }
    }
}

/// Step one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Temperature of NT-Xent.
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
    /// Overrides by label fraction: `labels`, and any key of this table.
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
    /// Overrides by label fraction: `labels`, and any key of this table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<toml::Table>,
}

fn finetuned() -> String {
    "finetuned".into()
}

/// Checks a label fraction; `what` leads the message, such as `--labels`.
///
/// # Errors
/// When it does not lie in (0, 1].
pub fn check_fraction(what: &str, fraction: f64) -> Result<()> {
    if !(fraction > 0.0 && fraction <= 1.0) {
        bail!("{what} {fraction}: a label fraction lies in (0, 1], such as 0.01 for 1 %")
    }
    Ok(())
}

impl Config {
    /// Reads `path`, applies `--set key=value` pairs, and checks every value.
    ///
    /// # Errors
    /// A message that names the file and the key: unknown keys come with the nearest valid one.
    pub fn load(path: &Path, set: &[String]) -> Result<Self> {
        let table = config_file::read(path, set)?;
        Self::from_table(table)
            .and_then(|config| config.check_overrides().map(|()| config))
            .with_context(|| format!("in {}", path.display()))
    }

    /// Every `at` entry must give a valid configuration.
    fn check_overrides(&self) -> Result<()> {
        let named = [("finetune".to_string(), &self.finetune.at), ("supervised".to_string(), &self.supervised.at)];
        let students = self.distill.iter().map(|(name, student)| (format!("distill.{name}"), &student.at));
        for (stage, entries) in named.into_iter().chain(students) {
            for entry in entries {
                let labels = config_file::labels(entry).with_context(|| format!("{stage}.at"))?;
                self.at_labels(labels).with_context(|| format!("[[{stage}.at]] with labels = {labels}"))?;
            }
        }
        Ok(())
    }

    fn from_table(table: toml::Table) -> Result<Self> {
        let config: Self = config_file::typed(table)?;
        config.check()?;
        Ok(config)
    }

    /// The configuration for one label fraction: `at` tables of that fraction are merged into their stage.
    ///
    /// # Errors
    /// When an override is not a valid table of its stage.
    pub fn at_labels(&self, fraction: f64) -> Result<Self> {
        let mut table = toml::Table::try_from(self).context("writing the configuration")?;
        for key in ["finetune", "supervised"] {
            config_file::apply_overrides(&mut table, &[key], fraction)?;
        }
        for student in self.distill.keys() {
            config_file::apply_overrides(&mut table, &["distill", student], fraction)?;
        }
        Self::from_table(table)
    }

    /// As TOML, every default written out.
    ///
    /// # Errors
    /// Never, for a configuration that was loaded.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("writing the configuration")
    }

    /// The student called `name`.
    ///
    /// # Errors
    /// When there is none, with those that there are.
    pub fn student(&self, name: &str) -> Result<&DistillConfig> {
        self.distill.get(name).with_context(|| {
            let known: Vec<_> = self.distill.keys().map(String::as_str).collect();
            format!("no table [distill.{name}] in the configuration; it has: {}", known.join(", "))
        })
    }
}
