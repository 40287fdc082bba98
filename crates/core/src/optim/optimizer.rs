//! What an optimiser is to the training loop.

use crate::params::{Param, ParamStore};
use anyhow::Result;
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use std::collections::BTreeMap;

/// Moves weights along their gradients.
pub trait Optimizer {
    /// One step with learning rate `lr`. A weight without a gradient is left alone.
    ///
    /// # Errors
    /// When a gradient does not fit its weight.
    fn step(&mut self, store: &ParamStore, grads: &GradStore, lr: f64) -> Result<()>;

    /// Whether weight decay of this parameter is a term of the loss: half its squared norm, which the training loop adds.
    /// All but normalisations, unless the optimiser decays weights itself.
    fn decays(&self, parameter: &Param) -> bool;

    /// What has to be kept to go on later, by name.
    fn state(&self) -> BTreeMap<String, Tensor>;

    /// Takes over what [`Optimizer::state`] gave.
    ///
    /// # Errors
    /// When names or shapes differ.
    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()>;
}

/// Keys of a stage's table `training` that optimisers share.
#[derive(Clone, Copy, Debug)]
pub struct Shared<'a> {
    /// Momentum; Adam has its own.
    pub momentum: f32,
    /// Weight decay, for those that decay weights themselves.
    pub weight_decay: f32,
    /// Parameters whose [`tag`](Param::tag) contains one of these get neither decay nor adaptation of LARS.
    pub exclude: &'a [String],
}
