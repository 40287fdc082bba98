//! Adam in Keras' form, whose bias correction goes into the learning rate (arithmetic: [`optim::adam`]).

use super::optimizer::{Optimizer, Shared};
use super::slots;
use crate::keys::Range;
use crate::params::{Kind, Param, ParamStore, Part};
use crate::table;
use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use simclr_ops::optim::{self, AdamStep};
use std::collections::BTreeMap;

table! {
    /// Adam in Keras' form, whose bias correction goes into the learning rate.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Settings with defaults {
        /// Decay of the mean of gradients.
        pub beta_1: f64 = 0.9, in Range::below(0.0, 1.0), from "Kingma and Ba 2015, algorithm 1";
        /// Decay of the mean of their squares.
        pub beta_2: f64 = 0.999, in Range::below(0.0, 1.0), from "Kingma and Ba 2015, algorithm 1";
        /// Added to the root of that mean.
        pub epsilon: f64 = 1e-7, in Range::above(0.0, 1.0), from "Kingma and Ba 2015, algorithm 1 (1e-8); Keras (1e-7)";
    }
}

/// Adam over the parameters of one store.
pub struct Adam {
    settings: Settings,
    /// Steps done: one number, on the CPU.
    step: ParamStore,
    first: ParamStore,
    second: ParamStore,
}

impl Adam {
    /// Moments at zero.
    ///
    /// # Errors
    /// When a state tensor cannot be made.
    pub fn new(store: &ParamStore, _: &Shared<'_>, settings: Settings) -> Result<Self> {
        let mut step = ParamStore::new(Device::Cpu);
        step.add("adam.step", Kind::Statistic, Part::Other, Tensor::zeros(1, DType::F32, &Device::Cpu)?)?;
        Ok(Self { settings, step, first: slots::zeros(store, "#first")?, second: slots::zeros(store, "#second")? })
    }
}

impl Optimizer for Adam {
    fn step(&mut self, store: &ParamStore, grads: &GradStore, lr: f64) -> Result<()> {
        let mut t = 0.0;
        for p in self.step.iter() {
            simclr_ops::tensor::update(&p.tensor, |s| {
                s[0] += 1.0;
                t = s[0] as f64;
            })?;
        }
        let Settings { beta_1, beta_2, epsilon } = self.settings;
        let lr = (lr * (1.0 - libm::pow(beta_2, t)).sqrt() / (1.0 - libm::pow(beta_1, t))) as f32;
        let step = AdamStep { lr, betas: (beta_1 as f32, beta_2 as f32), eps: epsilon as f32 };
        Ok(optim::adam(&slots::parameters(store, grads, (&self.first, Some(&self.second)), |_| false), step)?)
    }

    fn decays(&self, parameter: &Param) -> bool {
        !parameter.kind.is_norm()
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        slots::state(&[&self.step, &self.first, &self.second])
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        slots::restore(&[&self.step, &self.first, &self.second], state)
    }
}
