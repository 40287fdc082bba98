//! LARS, SGD with Nesterov momentum, and Adam, as the reference defines them: their settings and what they remember. The
//! arithmetic is that of [`simclr_ops::step`].

use crate::config::{OptimizerKind, TrainingConfig};
use crate::params::ParamStore;
use anyhow::{Context, Result};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use simclr_ops::step::{self, AdamStep, LarsStep, Parameter};
use std::collections::BTreeMap;

/// Moves weights along their gradients.
pub trait Optimizer {
    /// One step with learning rate `lr`. A weight without a gradient is left alone.
    ///
    /// # Errors
    /// When a gradient does not fit its weight.
    fn step(&mut self, store: &ParamStore, grads: &GradStore, lr: f64) -> Result<()>;

    /// What has to be kept to go on later, by name.
    fn state(&self) -> BTreeMap<String, Tensor>;

    /// Takes over what [`Optimizer::state`] gave.
    ///
    /// # Errors
    /// When names or shapes differ.
    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()>;
}

/// The optimiser of a configuration, with its state at zero.
///
/// # Errors
/// When a state tensor cannot be made.
pub fn build(training: &TrainingConfig, store: &ParamStore) -> Result<Box<dyn Optimizer>> {
    let momentum = training.momentum as f32;
    Ok(match training.optimizer {
        OptimizerKind::Lars => Box::new(Lars::new(store, momentum, training.weight_decay as f32, &training.exclude)?),
        OptimizerKind::Sgd => Box::new(Sgd::new(store, momentum)?),
        OptimizerKind::Adam => Box::new(Adam::new(store)?),
    })
}

/// Zeros beside each trained parameter, under its name, where the parameter is.
fn slots(store: &ParamStore, suffix: &str) -> Result<ParamStore> {
    let mut slots = ParamStore::new(store.device().clone());
    for p in store.trainable() {
        slots.add(&format!("{}{suffix}", p.name), p.kind, p.tensor.zeros_like()?)?;
    }
    Ok(slots)
}

/// The trained parameters that have a gradient, with what is remembered of each; `adapted` is asked for its place.
fn parameters<'a>(
    store: &'a ParamStore,
    grads: &'a GradStore,
    (first, second): (&'a ParamStore, Option<&'a ParamStore>),
    adapted: impl Fn(usize) -> bool,
) -> Vec<Parameter<'a>> {
    let mut seconds = second.map(ParamStore::iter);
    let mut list = Vec::new();
    for (i, (p, first)) in store.trainable().zip(first.iter()).enumerate() {
        let second = seconds.as_mut().and_then(Iterator::next).map(|p| &p.tensor);
        if let Some(gradient) = grads.get(&p.tensor) {
            let (name, weight, first) = (p.name.as_str(), &p.tensor, &first.tensor);
            list.push(Parameter { name, weight, gradient, first, second, adapted: adapted(i) });
        }
    }
    list
}

/// Layer-wise adaptive rate scaling (see [`step::lars`]).
pub struct Lars {
    momentum: f32,
    decay: f32,
    /// The trust coefficient; the reference's is 0.001.
    pub eta: f64,
    /// Step along the momentum's next value.
    pub nesterov: bool,
    /// Scale the gradient before the momentum (else the momentum's result).
    pub classic: bool,
    excluded: Vec<bool>,
    velocity: ParamStore,
}

impl Lars {
    /// Parameters whose [`tag`](crate::params::Param::tag) contains one of `exclude` get neither decay nor adaptation.
    ///
    /// # Errors
    /// When a state tensor cannot be made.
    pub fn new(store: &ParamStore, momentum: f32, decay: f32, exclude: &[String]) -> Result<Self> {
        let excluded = store.trainable().map(|p| exclude.iter().any(|e| p.tag().contains(e.as_str()))).collect();
        let velocity = slots(store, "")?;
        Ok(Self { momentum, decay, eta: 0.001, nesterov: false, classic: true, excluded, velocity })
    }
}

impl Optimizer for Lars {
    fn step(&mut self, store: &ParamStore, grads: &GradStore, lr: f64) -> Result<()> {
        let Self { momentum, decay, eta, nesterov, classic, .. } = *self;
        let list = parameters(store, grads, (&self.velocity, None), |i| !self.excluded[i]);
        Ok(step::lars(&list, LarsStep { lr, eta, momentum, decay, classic, nesterov })?)
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        state_of(&[&self.velocity])
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        restore_into(&[&self.velocity], state)
    }
}

/// Tensors of slots as they are in memory: this never leaves the project.
fn state_of(slots: &[&ParamStore]) -> BTreeMap<String, Tensor> {
    slots.iter().flat_map(|s| s.iter()).map(|p| (p.name.clone(), p.tensor.clone())).collect()
}

fn restore_into(slots: &[&ParamStore], state: &BTreeMap<String, Tensor>) -> Result<()> {
    let known: usize = slots.iter().map(|s| s.iter().count()).sum();
    anyhow::ensure!(known == state.len(), "optimiser state of {} tensors, expected {known}", state.len());
    for p in slots.iter().flat_map(|s| s.iter()) {
        let saved = state.get(&p.name).with_context(|| format!("no optimiser state for {}", p.name))?;
        anyhow::ensure!(saved.dims() == p.tensor.dims(), "optimiser state {} has another shape", p.name);
        step::assign(&p.tensor, saved)?;
    }
    Ok(())
}

/// SGD with Nesterov momentum in Keras' form (see [`step::sgd`]).
pub struct Sgd {
    momentum: f32,
    velocity: ParamStore,
}

impl Sgd {
    /// Momentum at zero.
    ///
    /// # Errors
    /// When a state tensor cannot be made.
    pub fn new(store: &ParamStore, momentum: f32) -> Result<Self> {
        Ok(Self { momentum, velocity: slots(store, "")? })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, store: &ParamStore, grads: &GradStore, lr: f64) -> Result<()> {
        let list = parameters(store, grads, (&self.velocity, None), |_| false);
        Ok(step::sgd(&list, lr as f32, self.momentum)?)
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        state_of(&[&self.velocity])
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        restore_into(&[&self.velocity], state)
    }
}

/// Adam in Keras' form, whose bias correction goes into the learning rate (see [`step::adam`]).
pub struct Adam {
    /// Steps done: one number, on the CPU.
    step: ParamStore,
    first: ParamStore,
    second: ParamStore,
}

impl Adam {
    const BETA: (f64, f64) = (0.9, 0.999);
    const EPS: f32 = 1e-7;

    /// Moments at zero.
    ///
    /// # Errors
    /// When a state tensor cannot be made.
    pub fn new(store: &ParamStore) -> Result<Self> {
        let mut step = ParamStore::new(Device::Cpu);
        let zero = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        step.add("adam.step", crate::params::Kind::Statistic, zero)?;
        Ok(Self { step, first: slots(store, "#first")?, second: slots(store, "#second")? })
    }
}

impl Optimizer for Adam {
    fn step(&mut self, store: &ParamStore, grads: &GradStore, lr: f64) -> Result<()> {
        let mut t = 0.0;
        for p in self.step.iter() {
            simclr_ops::cpu::update(&p.tensor, |s| {
                s[0] += 1.0;
                t = s[0] as f64;
            })?;
        }
        let (b1, b2) = Self::BETA;
        let lr = (lr * (1.0 - libm::pow(b2, t)).sqrt() / (1.0 - libm::pow(b1, t))) as f32;
        let step = AdamStep { lr, betas: (b1 as f32, b2 as f32), eps: Self::EPS };
        Ok(step::adam(&parameters(store, grads, (&self.first, Some(&self.second)), |_| false), step)?)
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        state_of(&[&self.step, &self.first, &self.second])
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        restore_into(&[&self.step, &self.first, &self.second], state)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::params::Kind;
    use crate::testing::assert_close;

    /// One step of LARS on a weight and a bias, both [3, 4] with gradient [1, 0].
    #[test]
    fn lars_decays_before_it_adapts_and_leaves_what_is_excluded_alone() {
        let tensor = |values: [f32; 2]| Tensor::new(&values, &Device::Cpu).unwrap();
        let mut store = ParamStore::new(Device::Cpu);
        let mut grads = GradStore::default();
        for (name, kind) in [("weight", Kind::Linear), ("bias", Kind::Bias)] {
            store.add(name, kind, tensor([3.0, 4.0])).unwrap();
            grads.insert(&store.by_name(name).unwrap().tensor, tensor([1.0, 0.0]));
        }
        Lars::new(&store, 0.9, 0.5, &["bias:".into()]).unwrap().step(&store, &grads, 2.0).unwrap();
        let numbers = |name: &str| store.by_name(name).unwrap().tensor.to_vec1::<f32>().unwrap();
        // With decay the gradient is [2.5, 2]; it is scaled by eta |w| / |gradient|.
        let (gradient, weight) = ([2.5f32, 2.0], 5.0f32);
        let scale = 2.0 * 0.001 * weight / libm::hypotf(gradient[0], gradient[1]);
        let want = [3.0 - scale * gradient[0], 4.0 - scale * gradient[1]];
        assert_close("weight", &numbers("weight"), &want, 1e-7);
        assert_close("bias", &numbers("bias"), &[1.0, 4.0], 1e-7);
    }
}
