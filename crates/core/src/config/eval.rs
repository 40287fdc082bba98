//! The table `[eval]` of an experiment file.

use super::crop::Crop;
use crate::value::{at_least_one, not_negative, positive, share};
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// What `simclr-eval` does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Images a forward pass.
    pub batch: usize,
    /// What of an image is shown.
    pub crop: Crop,
    /// Whose bicubic resize makes the evaluation view.
    pub resize: Resize,
    /// Neighbours of the weighted k-NN.
    pub knn_k: usize,
    /// Temperature of its weights, exp(similarity / temperature).
    pub knn_temperature: f64,
    /// The linear probe on frozen features.
    pub linear: LinearConfig,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            batch: 256,
            crop: Crop::default(),
            resize: Resize::Tf2,
            knn_k: 50,
            knn_temperature: 0.1,
            linear: LinearConfig::default(),
        }
    }
}

/// Which of TensorFlow's two bicubic resizes: pixels of the same picture differ by up to a tenth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Half-pixel centres, a = -0.5, weights outside the image dropped: what trains here.
    #[default]
    Tf2,
    /// No half-pixel offset, a = -0.75, edge pixels repeated: what the published checkpoints were trained and
    /// evaluated with.
    Tf1,
}

/// The linear probe: a classifier on features that are computed once (running statistics frozen, as in the TF1 code).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {
    /// Passes over the features.
    pub epochs: usize,
    /// Features a step.
    pub batch: usize,
    /// Learning rate of SGD with Nesterov momentum, before the linear scaling.
    pub learning_rate: f64,
    /// Half squared norm of the weights.
    pub weight_decay: f64,
    /// Views of each training image whose features are kept: 1 the central crop alone, more adds random crops.
    pub views: usize,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self { epochs: 60, batch: 256, learning_rate: 0.1, weight_decay: 1e-6, views: 1 }
    }
}

impl EvalConfig {
    /// Checks every value that its type does not.
    pub(super) fn check(&self) -> Result<()> {
        at_least_one("eval.batch", self.batch)?;
        at_least_one("eval.knn_k", self.knn_k)?;
        if let Crop::Center(kept) = self.crop {
            share("eval.crop", f64::from(kept))?;
        }
        positive("eval.knn_temperature", self.knn_temperature)?;
        at_least_one("eval.linear.batch", self.linear.batch)?;
        at_least_one("eval.linear.views", self.linear.views)?;
        positive("eval.linear.learning_rate", self.linear.learning_rate)?;
        not_negative("eval.linear.weight_decay", self.linear.weight_decay)
    }
}
