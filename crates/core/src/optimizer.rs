//! LARS, SGD with Nesterov momentum, and Adam, as the reference defines them.
//!
//! Letters: `w` a weight, `g` its gradient, `v` its momentum. Weights change in place. Sums of squares are taken in
//! `f64`, in one order whatever the number of threads.

use crate::config::{OptimizerKind, TrainingConfig};
use crate::params::{Param, ParamStore};
use anyhow::{Context, Result};
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use rayon::prelude::*;
use simclr_ops::cpu;
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

/// Zeros beside each trained parameter, under its name.
fn slots(store: &ParamStore, suffix: &str) -> Result<ParamStore> {
    let mut slots = ParamStore::new(candle_core::Device::Cpu);
    for p in store.trainable() {
        slots.add(&format!("{}{suffix}", p.name), p.kind, p.tensor.zeros_like()?)?;
    }
    Ok(slots)
}

/// Calls `f` with each trained parameter that has a gradient, and its place among the slots.
fn each(
    store: &ParamStore,
    grads: &GradStore,
    mut f: impl FnMut(usize, &Param, &Tensor) -> candle_core::Result<()>,
) -> Result<()> {
    for (i, p) in store.trainable().enumerate() {
        if let Some(g) = grads.get(&p.tensor) {
            f(i, p, g).with_context(|| format!("updating {}", p.name))?;
        }
    }
    Ok(())
}

/// Elements that one task handles; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 14;

/// Sums of the squares of `K` numbers for each of `len` elements; `f(i)` gives those of element `i`.
fn squares<const K: usize>(len: usize, f: impl Fn(usize) -> [f32; K] + Sync) -> [f64; K] {
    let chunk = |start: usize| {
        cpu::vectorized(
            #[inline(always)]
            || {
                let mut sums = [[0.0f64; 8]; K];
                for i in start..(start + CHUNK).min(len) {
                    for (sums, value) in sums.iter_mut().zip(f(i)) {
                        sums[i % 8] += f64::from(value) * f64::from(value);
                    }
                }
                sums.map(|s| s.iter().sum::<f64>())
            },
        )
    };
    let parts: Vec<[f64; K]> = (0..len.div_ceil(CHUNK)).into_par_iter().map(|i| chunk(i * CHUNK)).collect();
    parts.into_iter().fold([0.0; K], |sum, part| std::array::from_fn(|k| sum[k] + part[k]))
}

/// `f(changed, a, b)` for each element of three equally long lists, on all threads.
fn change(data: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(&mut f32, f32, f32) + Sync) {
    data.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((data, a), b)| {
        cpu::vectorized(
            #[inline(always)]
            || data.iter_mut().zip(a).zip(b).for_each(|((d, a), b)| f(d, *a, *b)),
        )
    });
}

/// Layer-wise adaptive rate scaling (You et al. 2017, algorithm 1; both forms of momentum of the reference).
///
/// With classic momentum the scaled learning rate enters the momentum:
/// `v <- m v + lr t (g + d w)`, `w <- w - v` with the trust ratio `t = eta |w| / |g + d w|`, 1 where a norm is zero.
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
    /// Parameters whose [`Param::tag`] contains one of `exclude` get neither decay nor adaptation.
    ///
    /// # Errors
    /// When a state tensor cannot be made.
    pub fn new(store: &ParamStore, momentum: f32, decay: f32, exclude: &[String]) -> Result<Self> {
        let excluded = store.trainable().map(|p| exclude.iter().any(|e| p.tag().contains(e.as_str()))).collect();
        let velocity = slots(store, "")?;
        Ok(Self { momentum, decay, eta: 0.001, nesterov: false, classic: true, excluded, velocity })
    }

    /// The trust ratio; 1 where a norm is zero, as both are for what is excluded.
    fn trust(&self, weight: f64, update: f64) -> f64 {
        if weight > 0.0 && update > 0.0 { self.eta * weight / update } else { 1.0 }
    }
}

impl Optimizer for Lars {
    fn step(&mut self, store: &ParamStore, grads: &GradStore, lr: f64) -> Result<()> {
        let velocities: Vec<&Param> = self.velocity.iter().collect();
        each(store, grads, |i, p, gradient| {
            let (m, adapted, v) = (self.momentum, !self.excluded[i], &velocities[i].tensor);
            let decay = if adapted { self.decay } else { 0.0 };
            cpu::with_slice(gradient, |g| {
                // Two passes over memory: one for the norms, one that moves.
                let mut factor = 1.0;
                if self.classic {
                    cpu::with_slice(&p.tensor, |w| {
                        let norms = || squares(w.len(), |i| [w[i], g[i] + decay * w[i]]).map(f64::sqrt);
                        let [weight, update] = if adapted { norms() } else { [0.0; 2] };
                        factor = (lr * self.trust(weight, update)) as f32;
                        cpu::update(v, |v| change(v, g, w, |v, g, w| *v = m * *v + factor * (g + decay * w)))
                    })?;
                } else {
                    cpu::with_slice(&p.tensor, |w| {
                        cpu::update(v, |v| change(v, g, w, |v, g, w| *v = m * *v + (g + decay * w)))
                    })?;
                }
                // What the weight moves by, before the rate where that does not enter the momentum.
                let within = if self.classic { factor } else { 1.0 };
                let step = |v: f32, g: f32, w: f32| if self.nesterov { m * v + within * (g + decay * w) } else { v };
                cpu::update_with(&p.tensor, v, |w, v| {
                    if self.classic {
                        return change(w, v, g, |w, v, g| *w -= step(v, g, *w));
                    }
                    let norms = || squares(w.len(), |i| [w[i], step(v[i], g[i], w[i])]).map(f64::sqrt);
                    let [weight, update] = if adapted { norms() } else { [0.0; 2] };
                    let factor = (lr * self.trust(weight, update)) as f32;
                    change(w, v, g, |w, v, g| *w -= factor * step(v, g, *w));
                })
            })
        })
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
        cpu::update_with(&p.tensor, saved, |a, b| a.copy_from_slice(b))?;
    }
    Ok(())
}

/// SGD with Nesterov momentum in Keras' form: `v <- m v - lr g`, `w <- w + m v - lr g`.
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
        let velocities: Vec<&Param> = self.velocity.iter().collect();
        let (m, lr) = (self.momentum, lr as f32);
        each(store, grads, |i, p, g| {
            let v = &velocities[i].tensor;
            cpu::with_slice(g, |g| {
                cpu::update(v, |v| change(v, g, g, |v, g, _| *v = m * *v - lr * g))?;
                cpu::update_with(&p.tensor, v, |w, v| change(w, g, v, |w, g, v| *w = (*w - lr * g) + m * v))
            })
        })
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        state_of(&[&self.velocity])
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        restore_into(&[&self.velocity], state)
    }
}

/// Adam in Keras' form: epsilon outside the bias correction, `w <- w - lr' m / (sqrt(s) + eps)`.
pub struct Adam {
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
        let mut step = ParamStore::new(candle_core::Device::Cpu);
        let zero = Tensor::zeros(1, candle_core::DType::F32, &candle_core::Device::Cpu)?;
        step.add("adam.step", crate::params::Kind::Statistic, zero)?;
        Ok(Self { step, first: slots(store, "#first")?, second: slots(store, "#second")? })
    }
}

impl Optimizer for Adam {
    fn step(&mut self, store: &ParamStore, grads: &GradStore, lr: f64) -> Result<()> {
        let mut t = 0.0;
        for p in self.step.iter() {
            cpu::update(&p.tensor, |s| {
                s[0] += 1.0;
                t = s[0] as f64;
            })?;
        }
        let (b1, b2) = Self::BETA;
        let lr = (lr * (1.0 - b2.powf(t)).sqrt() / (1.0 - b1.powf(t))) as f32;
        let (b1, b2) = (b1 as f32, b2 as f32);
        let (first, second): (Vec<&Param>, Vec<&Param>) = (self.first.iter().collect(), self.second.iter().collect());
        each(store, grads, |i, p, g| {
            let (m, s) = (&first[i].tensor, &second[i].tensor);
            cpu::update_with(m, g, |m, g| m.iter_mut().zip(g).for_each(|(m, g)| *m += (g - *m) * (1.0 - b1)))?;
            cpu::update_with(s, g, |s, g| s.iter_mut().zip(g).for_each(|(s, g)| *s += (g * g - *s) * (1.0 - b2)))?;
            cpu::with_slice(s, |s| {
                cpu::update_with(&p.tensor, m, |w, m| {
                    w.iter_mut().zip(m).zip(s).for_each(|((w, m), s)| *w -= lr * m / (s.sqrt() + Self::EPS))
                })
            })
        })
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
    use candle_core::Device;

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
        let scale = 2.0 * 0.001 * weight / gradient[0].hypot(gradient[1]);
        let want = [3.0 - scale * gradient[0], 4.0 - scale * gradient[1]];
        assert_close("weight", &numbers("weight"), &want, 1e-7);
        assert_close("bias", &numbers("bias"), &[1.0, 4.0], 1e-7);
    }
}
