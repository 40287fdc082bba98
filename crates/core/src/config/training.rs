//! The tables `training` of an experiment file: how long, how fast and by which rule weights move.

use crate::optim::{self, OptimizerConfig, Shared};
use crate::value::{at_least_one, not_negative, positive, share};
use anyhow::{Result, bail};
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
    /// Which optimiser: its name in the table of [`optim`], or a table with that name and its own settings.
    #[serde(default, with = "optim::by_name")]
    pub optimizer: OptimizerConfig,
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
    /// Stop after this many evaluations in a row without a better accuracy on the test images than the best so far; never,
    /// where the key is missing. Needs `eval_every`. `checkpoint` is then the network at the stop, and `best` stands beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// Save a checkpoint to resume from this often; at the end always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<Duration>,
    /// Compute each residual block's activations again in the backward pass instead of keeping them: less memory, one
    /// more forward, the same bits. Batch norm sees the whole batch (or chunk) both times; running statistics move the first
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

impl Duration {
    fn check(self, key: &str, nonzero: bool) -> Result<()> {
        let amount = match self {
            Self::Epochs(e) => e,
            Self::Steps(n) | Self::Images(n) => n as f64,
        };
        match nonzero {
            true => positive(key, amount),
            false => not_negative(key, amount),
        }
    }
}

impl TrainingConfig {
    /// What optimisers share.
    pub fn shared(&self) -> Shared<'_> {
        Shared { momentum: self.momentum as f32, weight_decay: self.weight_decay as f32, exclude: &self.exclude }
    }

    /// Checks every value that its type does not; `stage` is the path of the stage's table, which may run in chunks or not.
    pub(super) fn check(&self, stage: &str, chunks: bool) -> Result<()> {
        let key = |name: &str| format!("{stage}.training.{name}");
        positive(&key("learning_rate"), self.learning_rate)?;
        at_least_one(&key("batch"), self.batch)?;
        if let Some(chunk) = self.chunk {
            check_chunk(&key("chunk"), chunk, self.batch, chunks)?;
        }
        not_negative(&key("weight_decay"), self.weight_decay)?;
        share(&key("momentum"), self.momentum)?;
        self.optimizer.check(&key("optimizer"))?;
        self.length.check(&key("length"), true)?;
        self.warmup.check(&key("warmup"), false)?;
        for (name, every) in [("eval_every", self.eval_every), ("checkpoint_every", self.checkpoint_every)] {
            every.map_or(Ok(()), |every| every.check(&key(name), true))?;
        }
        match self.patience {
            Some(0) => bail!("{} = 0: must be at least 1 evaluation", key("patience")),
            Some(n) if self.eval_every.is_none() => {
                bail!(
                    "{} = {n}: counts evaluations, and there is but the last one; set {}",
                    key("patience"),
                    key("eval_every")
                )
            }
            _ => Ok(()),
        }
    }
}

/// Batch norm and the online head need two images a chunk; a chunk of the whole batch or more is the batch at once.
fn check_chunk(key: &str, chunk: usize, batch: usize, chunks: bool) -> Result<()> {
    if !chunks {
        bail!("{key} = {chunk}: only pretraining runs in chunks; leave the key out")
    }
    if chunk < 2 {
        bail!("{key} = {chunk}: must be at least 2 images")
    }
    if chunk < batch && batch % chunk == 1 {
        bail!("{key} = {chunk}: leaves one image of a batch of {batch} alone; each chunk needs two")
    }
    Ok(())
}
