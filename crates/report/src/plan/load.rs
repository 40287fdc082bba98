//! What a job computes, and about how much work that is.

use simclr_core::config::{Layout, ModelConfig, TrainingConfig};

/// What a job computes.
#[derive(Clone, Debug)]
pub struct Load {
    /// The network.
    pub model: ModelConfig,
    /// A network that runs forward on every image beside it.
    pub teacher: Option<ModelConfig>,
    /// How it trains; a job that measures does not.
    pub training: Option<TrainingConfig>,
    /// Images of an epoch.
    pub examples: usize,
    /// Views of each.
    pub views: f64,
    /// Images that are looked at without training: those of evaluations, or all of a job that measures.
    pub looked_at: f64,
}

impl Load {
    /// Images that it trains on, each time that it sees one.
    pub fn images(&self) -> f64 {
        self.training.as_ref().map_or(0.0, |t| t.length.steps(self.examples, t.batch) as f64 * t.batch as f64)
    }

    /// The work, in units of one training image up to a common factor: a forward pass is a third of a step.
    pub(super) fn cost(&self) -> f64 {
        let network = network_cost(&self.model);
        let taught = self.teacher.as_ref().map_or(0.0, network_cost) / 3.0;
        self.views * self.images() * (network + taught) + self.looked_at / 3.0 * network
    }
}

/// Work of a training step on one image, up to a common factor. Every residual block of a family costs about the same,
/// because a halved resolution meets doubled channels; what is not convolution grows with the width alone.
fn network_cost(model: &ModelConfig) -> f64 {
    // Of another backbone nothing is known here: it counts as the smallest ResNet.
    let layout = model.layout().unwrap_or(Layout::ALL[0]);
    let blocks = layout.blocks.iter().sum::<usize>() as f64;
    let kernels = if model.has_selective_kernels() { 1.6 } else { 1.0 };
    0.5 + blocks * kernels * (model.width * model.width + 0.2 * model.width)
}
