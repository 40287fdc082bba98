//! A stage's plan: network, batches, held-out images, and the loss that is the stage's own.

use crate::device_batch::{Arrived, DeviceBatch};
use crate::eval_set::EvalSet;
use anyhow::Result;
use candle_core::Tensor;
use serde_json::Value as Json;
use simclr_core::params::{Param, ParamStore};
use simclr_core::train::{BatchFn, Loss, Task};
use simclr_model::SimClr;
use simclr_ops::Tape;
use std::collections::BTreeMap;

/// What a stage lowers. All but [`StageLoss::loss`] has a default; the rest means what it means in [`Task`].
pub trait StageLoss {
    /// The loss of a batch. Leaves of `tape` are the tensors of `model`, whose running statistics move in place.
    ///
    /// # Errors
    /// When the network and the batch do not fit.
    fn loss(&mut self, model: &SimClr, tape: &Tape, batch: Arrived) -> Result<Loss>;

    /// Figures on held-out images: accuracy of the network's classifier. Must not change what training goes on with.
    ///
    /// # Errors
    /// As [`EvalSet::metrics`].
    fn evaluate(&mut self, model: &SimClr, test: &EvalSet) -> Result<Vec<(&'static str, f64)>> {
        test.metrics(model)
    }

    /// Whether evaluations measure accuracy: the network has a classifier, and there are images to hold it against.
    fn measures(&self, model: &SimClr, test: &EvalSet) -> bool {
        model.classifier.is_some() && !test.is_empty()
    }

    /// The metric of a step that progress shows beside the loss, a share, and what it is called there.
    fn watched(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// The loss of a network that knows nothing.
    fn guessing(&self, _model: &SimClr) -> Option<f64> {
        None
    }

    /// Whether training may move a trainable parameter.
    fn trains(&self, _parameter: &Param) -> bool {
        true
    }

    /// What follows the optimiser's step `step`, counted from 0.
    ///
    /// # Errors
    /// When memory is short.
    fn after_step(&mut self, _model: &SimClr, _step: u64) -> Result<()> {
        Ok(())
    }

    /// Last changes to the parameters, before the checkpoint is written.
    ///
    /// # Errors
    /// When they cannot be changed.
    fn finish(&mut self, _model: &SimClr) -> Result<()> {
        Ok(())
    }

    /// Tensors besides the network's parameters that a resumed run needs.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }

    /// Takes over what [`StageLoss::state`] gave.
    ///
    /// # Errors
    /// When names or shapes differ.
    fn restore(&mut self, _state: &BTreeMap<String, Tensor>) -> Result<()> {
        Ok(())
    }
}

/// What a stage trains: a task of the training loop.
pub struct Plan<L> {
    /// The network, where it computes.
    pub model: SimClr,
    /// What makes its batches.
    pub batches: BatchFn<DeviceBatch>,
    /// Images in an epoch.
    pub examples: usize,
    /// What accuracy is measured on.
    pub test: EvalSet,
    /// What is lowered.
    pub loss: L,
}

impl<L: StageLoss> Task for Plan<L> {
    type Batch = DeviceBatch;

    fn store(&self) -> &ParamStore {
        &self.model.store
    }

    fn batches(&self) -> BatchFn<DeviceBatch> {
        self.batches.clone()
    }

    fn loss(&mut self, tape: &Tape, batch: DeviceBatch) -> Result<Loss> {
        self.loss.loss(&self.model, tape, batch.arrived()?)
    }

    fn after_step(&mut self, step: u64) -> Result<()> {
        self.loss.after_step(&self.model, step)
    }

    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>> {
        self.loss.evaluate(&self.model, &self.test)
    }

    fn measures(&self) -> bool {
        self.loss.measures(&self.model, &self.test)
    }

    fn watched(&self) -> Option<(&'static str, &'static str)> {
        self.loss.watched()
    }

    fn guessing(&self) -> Option<f64> {
        self.loss.guessing(&self.model)
    }

    fn finish(&mut self) -> Result<()> {
        self.loss.finish(&self.model)
    }

    fn model_config(&self) -> Json {
        self.model.spec.to_json()
    }

    fn trains(&self, parameter: &Param) -> bool {
        self.loss.trains(parameter)
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        self.loss.state()
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.loss.restore(state)
    }
}
