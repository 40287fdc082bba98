//! The tables `training` of an experiment file: how long, how fast and by which rule weights move.

use serde::{Deserialize, Serialize};

/// How long something lasts: exactly one of epochs, steps and images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duration {
    /// Passes over the stage's training images.
    Epochs(f64),
    /// Optimiser steps.
    Steps(u64),
    /// Images seen.
    Images(u64),
}

impl Default for Duration {
    fn default() -> Self {
        Self::Steps(0)
    }
}

impl Duration {
    /// In steps, for `examples` images in an epoch. Epochs and images are rounded down, as the reference does.
    pub fn steps(self, examples: usize, batch: usize) -> u64 {
        match self {
            Self::Epochs(e) => (e * examples as f64).floor() as u64 / batch as u64,
            Self::Steps(s) => s,
            Self::Images(n) => n / batch as u64,
        }
    }
}

/// What scales the learning rate with the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// Times batch / 256.
    #[default]
    Linear,
    /// Times the square root of the batch.
    Sqrt,
    /// As it is written.
    None,
}

/// Which optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Layer-wise adaptive rate scaling (You et al. 2017).
    #[default]
    Lars,
    /// SGD with Nesterov momentum.
    Sgd,
    /// Adam.
    Adam,
}

/// How feature maps and their gradients are stored, and with what convolutions multiply. Weights, statistics, sums and
/// losses are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32 bits.
    #[default]
    F32,
    /// The upper half of an f32: half the memory, and products by the units that processors have for it.
    Bf16,
}

/// How a stage optimises; the same table in every stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// How long.
    pub length: Duration,
    /// Linear warm-up before the cosine.
    #[serde(default)]
    pub warmup: Duration,
    /// Images a step.
    pub batch: usize,
    /// Base learning rate, before scaling.
    pub learning_rate: f64,
    /// What scales it with the batch.
    #[serde(default)]
    pub scaling: Scaling,
    /// Which optimiser.
    #[serde(default)]
    pub optimizer: OptimizerKind,
    /// Momentum of LARS and SGD.
    #[serde(default = "momentum")]
    pub momentum: f64,
    /// Weight decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// LARS leaves out of decay and adaptation what contains one of these; parameters are called `kind:name`,
    /// kind being `conv`, `linear`, `batch_norm`, `bias` or `classifier`.
    #[serde(default = "exclude")]
    pub exclude: Vec<String>,
    /// Measure accuracy on the test images this often; at the end always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eval_every: Option<Duration>,
    /// Save a checkpoint to resume from this often; at the end always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<Duration>,
    /// Compute each residual block's activations again on the way back instead of keeping them: less memory, one more
    /// forward, the same bits. Batch norm sees the whole batch (or chunk) both times; running statistics move the first
    /// time only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recompute: bool,
    /// Pretraining only: run the network on this many images at a time (the last chunk may be smaller), both views of
    /// an image together, and contrast the projections of the whole batch; the batch at once where the key is missing.
    /// Each chunk's forward runs twice. Batch norm normalises each chunk with the chunk's own moments, as separate
    /// devices without global batch norm would, so it is another computation than the whole batch at once; running
    /// statistics move once a chunk, in order, in the first of the two forwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<usize>,
}

fn momentum() -> f64 {
    0.9
}
fn exclude() -> Vec<String> {
    ["batch_norm:", "bias", "classifier:"].map(String::from).into()
}
