//! The tables `training` of an experiment file: how long, how fast and by which rule weights move.

use crate::bounds;
use crate::keys::{Kind, Range, Value};
use crate::optim::{self, OptimizerConfig, Shared};
use crate::{table, words};
use anyhow::{Result, bail, ensure};
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

words! {
    /// What scales the learning rate with the batch.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Scaling {
        /// Times batch / 256.
        #[default]
        Linear = "linear",
        /// Times the square root of the batch.
        Sqrt = "sqrt",
        /// As it is written.
        None = "none",
    }
}

words! {
    /// How feature maps and their gradients are stored, and with what convolutions multiply. Weights, statistics, sums and
    /// losses are f32 always.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
    pub enum Dtype {
        /// 32 bits.
        #[default]
        F32 = "f32",
        /// The upper half of an f32: half the memory, and products by the units that processors have for it.
        Bf16 = "bf16",
    }
}

table! {
    /// How a stage optimises; the same table in every stage.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct TrainingConfig {
        /// How long.
        pub length: Duration, in Range::Length { zero: false }, from "SimCLRv2, section 3.1 (800 epochs)";
        /// Linear warm-up before the cosine.
        #[serde(default)]
        pub warmup: Duration = Duration::default(), in Range::Length { zero: true }, from "SimCLRv2, section 3.1 (5 %)";
        /// Images a step.
        pub batch: usize, in Range::of(&bounds::BATCH), from "SimCLRv2, section 3.1 (4096)";
        /// Base learning rate, before scaling.
        pub learning_rate: f64, in RATE, from "SimCLRv2, section 3.1 (0.1, times the root of the batch)";
        /// What scales it with the batch.
        #[serde(default)]
        pub scaling: Scaling = Scaling::Linear;
        /// Which optimiser: its name in the table of [`optim`], or a table with that name and its own settings.
        #[serde(default, with = "optim::by_name")]
        pub optimizer: OptimizerConfig = OptimizerConfig::lars(), from "You et al. 2017";
        /// Momentum of LARS and SGD.
        #[serde(default = "momentum")]
        pub momentum: f64 = momentum(), in Range::SHARE, from "SimCLRv2, section 3.1";
        /// Weight decay.
        #[serde(default)]
        pub weight_decay: f64 = 0.0, in DECAY, from "SimCLRv2, section 3.1 (1e-4)";
        /// LARS leaves out of decay and adaptation what contains one of these; parameters are called `kind:name`,
        /// kind being `conv`, `linear`, `batch_norm`, `bias` or `classifier`.
        #[serde(default = "exclude")]
        pub exclude: Vec<String> = exclude();
        /// Measure accuracy on the test images this often; at the end always.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub eval_every: Option<Duration> = None, in Range::Length { zero: false };
        /// Stop after this many evaluations in a row without a better accuracy on the test images than the best so far; never,
        /// where the key is missing. Needs `eval_every`. `checkpoint` is then the network at the stop, and `best` stands beside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub patience: Option<u64> = None, in Range::of(&bounds::COUNT);
        /// Save a checkpoint to resume from this often; at the end always.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub checkpoint_every: Option<Duration> = None, in Range::Length { zero: false };
        /// How many of the last saved states stay; where the newest is damaged, a resumed run goes on from the one before.
        #[serde(default = "keep_states", skip_serializing_if = "is_keep_states")]
        pub keep_states: usize = keep_states(), in Range::closed(1.0, 1000.0);
        /// Compute each residual block's activations again in the backward pass instead of keeping them: less memory, one
        /// more forward, the same bits. Batch norm sees the whole batch (or chunk) both times; running statistics move the first
        /// time only.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub recompute: bool = false, from "Chen et al. 2016";
        /// Pretraining only: run the network on this many images at a time (the last chunk may be smaller), both views of
        /// an image together, and contrast the projections of the whole batch; the batch at once where the key is missing.
        /// Each chunk's forward runs twice. Batch norm normalises each chunk with the chunk's own moments, as separate
        /// devices without global batch norm would, so it is another computation than the whole batch at once; running
        /// statistics move once a chunk, in order, in the first of the two forwards.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub chunk: Option<usize> = None, in Range::closed(2.0, *bounds::BATCH.end() as f64), from "Gao et al. 2021";
    }
    also relations
}

/// Learning rates before scaling: what trains lies in 1e-6 to 100.
pub const RATE: Range = Range::above(0.0, 10_000.0);
/// Weight decays: what trains lies below 1.
pub const DECAY: Range = Range::closed(0.0, 10.0);

fn momentum() -> f64 {
    0.9
}
fn keep_states() -> usize {
    2
}
fn is_keep_states(states: &usize) -> bool {
    *states == keep_states()
}
fn exclude() -> Vec<String> {
    ["batch_norm:", "bias", "classifier:"].map(String::from).into()
}

impl Value for Duration {
    fn kind() -> Kind {
        Kind::Plain("one of { epochs = N }, { steps = N }, { images = N }")
    }

    fn check(&self, key: &str, range: &Range) -> Result<()> {
        let (zero, last) = (*range == Range::Length { zero: true }, *bounds::STEPS.end() as f64);
        let number = match zero {
            true => Range::closed(0.0, last),
            false => Range::closed(1.0, last),
        };
        match *self {
            Self::Epochs(n) if zero => {
                Range::closed(0.0, bounds::EPOCHS).check(&format!("{key}.epochs"), n, &n.shown())
            }
            Self::Epochs(n) => Range::above(0.0, bounds::EPOCHS).check(&format!("{key}.epochs"), n, &n.shown()),
            Self::Steps(n) => number.check(&format!("{key}.steps"), n as f64, &n),
            Self::Images(n) => number.check(&format!("{key}.images"), n as f64, &n),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Epochs(n) => format!("{{ epochs = {} }}", n.shown()),
            Self::Steps(n) => format!("{{ steps = {n} }}"),
            Self::Images(n) => format!("{{ images = {n} }}"),
        }
    }
}

impl TrainingConfig {
    /// What optimisers share.
    pub fn shared(&self) -> Shared<'_> {
        Shared { momentum: self.momentum as f32, weight_decay: self.weight_decay as f32, exclude: &self.exclude }
    }

    /// What keys must be to one another; `at` is the path of the table.
    fn relations(&self, at: &str) -> Result<()> {
        let longer = match (self.warmup, self.length) {
            (Duration::Epochs(warmup), Duration::Epochs(length)) => warmup > length,
            (Duration::Steps(warmup), Duration::Steps(length)) => warmup > length,
            (Duration::Images(warmup), Duration::Images(length)) => warmup > length,
            // Known when the images are counted.
            _ => false,
        };
        if longer {
            let (warmup, length) = (self.warmup.shown(), self.length.shown());
            bail!("{at}.warmup = {warmup}: is longer than the whole run, {at}.length = {length}")
        }
        if let Some(chunk) = self.chunk {
            check_chunk(&format!("{at}.chunk"), chunk, self.batch)?;
        }
        match self.patience {
            Some(n) if self.eval_every.is_none() => {
                bail!("{at}.patience = {n}: counts evaluations, and there is but the last one; set {at}.eval_every")
            }
            _ => Ok(()),
        }
    }

    /// Checks the table of a stage, at the path `stage`, whose batches are computed at once.
    ///
    /// # Errors
    /// When they are to be computed in chunks.
    pub(super) fn at_once(&self, stage: &str) -> Result<()> {
        match self.chunk {
            None => Ok(()),
            Some(chunk) => {
                bail!("{stage}.training.chunk = {chunk}: only pretraining runs in chunks; leave the key out")
            }
        }
    }
}

/// Batch norm and the online head need two images a chunk; a chunk of the whole batch or more is the batch at once.
fn check_chunk(key: &str, chunk: usize, batch: usize) -> Result<()> {
    ensure!(
        chunk >= batch || batch % chunk != 1,
        "{key} = {chunk}: leaves one image of a batch of {batch} alone; each chunk needs two"
    );
    Ok(())
}
