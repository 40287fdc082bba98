//! LARS: layer-wise adaptive rate scaling, as the reference defines it (arithmetic: [`optim::lars`]).

use super::optimizer::{Optimizer, Shared};
use super::slots;
use crate::keys::Range;
use crate::params::{Kind, Param, ParamStore};
use crate::table;
use anyhow::Result;
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use serde::{Deserialize, Serialize};
use simclr_ops::optim::{self, LarsStep};
use std::collections::BTreeMap;

table! {
    /// Layer-wise adaptive rate scaling. Momentum and weight decay are keys of the stage.
    #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Settings with defaults {
        /// The trust coefficient.
        pub eta: f64 = 0.001, in Range::above(0.0, 1.0), from "You et al. 2017, equation 6";
        /// Step along the momentum's next value.
        pub nesterov: bool = false;
        /// Scale the gradient before the momentum (else the momentum's result).
        pub classic: bool = true;
    }
}

/// LARS over the parameters of one store.
pub struct Lars {
    settings: Settings,
    momentum: f32,
    decay: f32,
    excluded: Vec<bool>,
    velocity: ParamStore,
}

impl Lars {
    /// Velocities at zero.
    ///
    /// # Errors
    /// When a state tensor cannot be made.
    pub fn new(store: &ParamStore, shared: &Shared<'_>, settings: Settings) -> Result<Self> {
        let &Shared { momentum, weight_decay: decay, exclude } = shared;
        let excluded = store.trainable().map(|p| exclude.iter().any(|e| p.tag().contains(e.as_str()))).collect();
        Ok(Self { settings, momentum, decay, excluded, velocity: slots::zeros(store, "")? })
    }
}

impl Optimizer for Lars {
    fn step(&mut self, store: &ParamStore, grads: &GradStore, lr: f64) -> Result<()> {
        let Settings { eta, nesterov, classic } = self.settings;
        let list = slots::parameters(store, grads, (&self.velocity, None), |i| !self.excluded[i]);
        Ok(optim::lars(&list, LarsStep { lr, eta, momentum: self.momentum, decay: self.decay, classic, nesterov })?)
    }

    /// It decays weights itself, save what it excludes, of which the classifier decays by the loss.
    fn decays(&self, parameter: &Param) -> bool {
        parameter.kind == Kind::Classifier
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        slots::state(&[&self.velocity])
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        slots::restore(&[&self.velocity], state)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::params::Part;
    use crate::testing::assert_close;
    use candle_core::Device;

    /// One step of LARS on a weight and a bias, both [3, 4] with gradient [1, 0].
    #[test]
    fn decays_before_it_adapts_and_leaves_what_is_excluded_alone() {
        let tensor = |values: [f32; 2]| Tensor::new(&values, &Device::Cpu).unwrap();
        let mut store = ParamStore::new(Device::Cpu);
        let mut grads = GradStore::default();
        for (name, kind) in [("weight", Kind::Linear), ("bias", Kind::Bias)] {
            store.add(name, kind, Part::Other, tensor([3.0, 4.0])).unwrap();
            grads.insert(&store.by_name(name).unwrap().tensor, tensor([1.0, 0.0]));
        }
        let shared = Shared { momentum: 0.9, weight_decay: 0.5, exclude: &["bias:".into()] };
        Lars::new(&store, &shared, Settings::default()).unwrap().step(&store, &grads, 2.0).unwrap();
        let numbers = |name: &str| store.by_name(name).unwrap().tensor.to_vec1::<f32>().unwrap();
        // With decay the gradient is [2.5, 2]; it is scaled by eta |w| / |gradient|.
        let (gradient, weight) = ([2.5f32, 2.0], 5.0f32);
        let scale = 2.0 * 0.001 * weight / libm::hypotf(gradient[0], gradient[1]);
        let want = [3.0 - scale * gradient[0], 4.0 - scale * gradient[1]];
        assert_close("weight", &numbers("weight"), &want, 1e-7);
        assert_close("bias", &numbers("bias"), &[1.0, 4.0], 1e-7);
    }
}
