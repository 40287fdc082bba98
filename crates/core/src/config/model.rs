//! The table `[model]` of an experiment file: the shape of a network.

use super::resnet::{BASE_CHANNELS, Layout};
use super::value::at_least_one;
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// The shape of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A depth of the [`Layout`]s.
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

impl ModelConfig {
    /// Checks every value that its type does not; `key` is the path of the table.
    pub(super) fn check(&self, key: &str) -> Result<()> {
        Layout::of(&format!("{key}.depth"), self.depth)?;
        if !(self.width.is_finite() && self.width * BASE_CHANNELS as f64 >= 1.0) {
            bail!("{key}.width = {}: must give at least one channel (1/64)", self.width)
        }
        for (name, ratio) in [("sk_ratio", self.sk_ratio), ("se_ratio", self.se_ratio)] {
            if !(0.0..=1.0).contains(&ratio) {
                bail!("{key}.{name} = {ratio}: must lie in 0..=1, 0 for none")
            }
        }
        at_least_one(&format!("{key}.proj_dim"), self.proj_dim)
    }
}
