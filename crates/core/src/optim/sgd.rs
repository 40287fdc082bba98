//! SGD with Nesterov momentum in Keras' form (arithmetic: [`optim::sgd`]).

use super::optimizer::{Optimizer, Shared};
use super::slots;
use crate::params::{Param, ParamStore};
use crate::table;
use anyhow::Result;
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use serde::{Deserialize, Serialize};
use simclr_ops::optim;
use std::collections::BTreeMap;

table! {
    /// SGD with Nesterov momentum. It has no settings of its own: momentum is a key of the stage.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Settings with defaults {}
}

/// SGD over the parameters of one store.
pub struct Sgd {
    momentum: f32,
    velocity: ParamStore,
}

impl Sgd {
    /// Velocities at zero.
    ///
    /// # Errors
    /// When a state tensor cannot be made.
    pub fn new(store: &ParamStore, shared: &Shared<'_>, _: Settings) -> Result<Self> {
        Ok(Self { momentum: shared.momentum, velocity: slots::zeros(store, "")? })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, store: &ParamStore, grads: &GradStore, lr: f64) -> Result<()> {
        let list = slots::parameters(store, grads, (&self.velocity, None), |_| false);
        Ok(optim::sgd(&list, lr as f32, self.momentum)?)
    }

    fn decays(&self, parameter: &Param) -> bool {
        !parameter.kind.is_norm()
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        slots::state(&[&self.velocity])
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        slots::restore(&[&self.velocity], state)
    }
}
