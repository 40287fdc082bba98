//! Stochastic gradient descent with Nesterov momentum.

use super::cpu::change;
use super::each::each;
use super::gpu::{KERNELS, Slots};
use super::parameter::Parameter;
use crate::gpu::machine::{Launch, Machine, args};
use crate::tensor::{update, update_with, with_slice};
use candle_core::Result;

/// One step of SGD with Nesterov momentum in Keras' form: `v <- m v - lr g`, `w <- w + m v - lr g`.
///
/// # Errors
/// As [`super::lars()`].
pub fn sgd(parameters: &[Parameter<'_>], lr: f32, momentum: f32) -> Result<()> {
    each(parameters, |p| on_cpu(p, lr, momentum), |gpu, slots| launch(gpu, slots, lr, momentum))
}

fn on_cpu(p: &Parameter<'_>, lr: f32, m: f32) -> Result<()> {
    with_slice(p.gradient, |g| {
        update(p.first, |v| change(v, g, g, |v, g, _| *v = m * *v - lr * g))?;
        update_with(p.weight, p.first, |w, v| change(w, g, v, |w, g, v| *w = (*w - lr * g) + m * v))
    })
}

pub(super) fn launch<M: Machine>(m: &M, slots: &Slots<M>, lr: f32, momentum: f32) -> Result<()> {
    let args = args![m.at(&slots.table), slots.count as i64, lr, momentum];
    m.launch(Launch::rows(KERNELS, "sgd_update", slots.chunks, args)?)
}
