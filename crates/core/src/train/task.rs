//! What a stage supplies to the training loop: the loss of a batch, and what belongs to it.

use super::prefetch::BatchFn;
use crate::params::{Param, ParamStore};
use crate::run::{Run, checkpoint};
use anyhow::Result;
use candle_core::Tensor;
use serde_json::Value as Json;
use simclr_ops::{Tape, Value};
use std::collections::BTreeMap;

/// What [`Task::evaluate`] calls the accuracy, in 0..=1, by which evaluations are better or worse.
pub const ACCURACY: &str = "test_top1";

/// What a batch costs.
pub struct Loss {
    /// The scalar to lower, on the tape; without weight decay. It is what is shown as the loss.
    pub value: Value,
    /// A scalar to lower along with it that is no part of what is shown, such as that of a head that only reads.
    pub beside: Option<Value>,
    /// Whatever else is worth writing down.
    pub metrics: Vec<Metric>,
}

/// A figure of a batch, beside its loss.
pub struct Metric {
    /// What the log calls it.
    pub name: &'static str,
    /// A scalar, f32 or f64, wherever it was worked out: a mean over images.
    pub value: Tensor,
    /// The share of the batch's images that it is over, 0 to 1; at 0 the value says nothing and is not written down. Of ranks
    /// that share a batch each weighs by its images.
    pub of: f64,
}

impl Metric {
    /// The mean over all images of a batch.
    pub fn of_all(name: &'static str, value: Tensor) -> Self {
        Self { name, value, of: 1.0 }
    }
}

/// What a stage trains.
///
/// One of several ranks that share each batch has a task of its own over its part. All ranks make the same calls in the same order,
/// and evaluations give all of them the same figures.
pub trait Task {
    /// One batch, made ahead on another thread.
    type Batch: Send + 'static;

    /// The parameters.
    fn store(&self) -> &ParamStore;

    /// What makes the batch of a step: a pure function of the step.
    fn batches(&self) -> BatchFn<Self::Batch>;

    /// The loss of a batch. Leaves of `tape` are the store's own tensors; running statistics move in place.
    ///
    /// # Errors
    /// When the network and the batch do not fit.
    fn loss(&mut self, tape: &Tape, batch: Self::Batch) -> Result<Loss>;

    /// What follows the optimiser's step `step`, counted from 0, such as moving an average of the weights.
    ///
    /// # Errors
    /// When memory is short.
    fn after_step(&mut self, _step: u64) -> Result<()> {
        Ok(())
    }

    /// Figures on held-out images, such as `top1`. Must not change what training goes on with.
    ///
    /// # Errors
    /// When images cannot be read.
    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>>;

    /// Whether evaluations measure [`ACCURACY`]: there is a classifier, and there are images to hold it against.
    fn measures(&self) -> bool {
        true
    }

    /// The loss of a network that knows nothing and finds every answer equally likely, where that is known: one that stays there has
    /// learned nothing.
    fn guessing(&self) -> Option<f64> {
        None
    }

    /// The metric of a step that progress shows beside the loss, a share, and what it is called there.
    fn watched(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// Last changes to the parameters, before the checkpoint is written.
    ///
    /// # Errors
    /// When they cannot be changed.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// What `config.json` says about the network.
    fn model_config(&self) -> Json;

    /// Writes what training came to into the run's folder: the checkpoint that the next stage takes.
    ///
    /// # Errors
    /// When the folder cannot be written.
    fn save(&self, run: &Run) -> Result<()> {
        checkpoint::save(&run.checkpoint_dir(), self.store(), &self.model_config())
    }

    /// Whether training may move a trainable parameter; one that is frozen is left out of weight decay too.
    fn trains(&self, _parameter: &Param) -> bool {
        true
    }

    /// Tensors besides parameters that a resumed run needs, such as a queue.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }

    /// Takes over what [`Task::state`] gave.
    ///
    /// # Errors
    /// When names or shapes differ.
    fn restore(&mut self, _state: &BTreeMap<String, Tensor>) -> Result<()> {
        Ok(())
    }
}
