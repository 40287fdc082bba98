//! Adam (Kingma and Ba 2015).

use super::cpu::change;
use super::each::each;
use super::gpu::{KERNELS, Slots};
use super::parameter::Parameter;
use crate::gpu::machine::{Launch, Machine, args};
use crate::tensor::{update, update_with, with_slice};
use candle_core::{Result, bail};

/// What a step of Adam is made with.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// The learning rate, bias correction included.
    pub lr: f32,
    /// How much of the first and of the second moment stays.
    pub betas: (f32, f32),
    /// Added to the root of the second moment.
    pub eps: f32,
}

/// One step of Adam in Keras' form: epsilon outside the bias correction, `w <- w - lr m / (sqrt(s) + eps)`.
///
/// # Errors
/// As [`super::lars()`]; also when a second moment is missing.
pub fn adam(parameters: &[Parameter<'_>], step: AdamStep) -> Result<()> {
    each(parameters, |p| on_cpu(p, step), |gpu, slots| launch(gpu, slots, step))
}

fn on_cpu(p: &Parameter<'_>, AdamStep { lr, betas: (b1, b2), eps }: AdamStep) -> Result<()> {
    let Some(second) = p.second else { bail!("updating {}: Adam needs a second moment", p.name) };
    with_slice(p.gradient, |g| {
        update(p.first, |m| change(m, g, g, |m, g, _| *m += (g - *m) * (1.0 - b1)))?;
        update(second, |s| change(s, g, g, |s, g, _| *s += (g * g - *s) * (1.0 - b2)))
    })?;
    with_slice(second, |s| {
        update_with(p.weight, p.first, |w, m| change(w, m, s, |w, m, s| *w -= lr * m / (s.sqrt() + eps)))
    })
}

pub(super) fn launch<M: Machine>(m: &M, slots: &Slots<M>, step: AdamStep) -> Result<()> {
    let AdamStep { lr, betas: (b1, b2), eps } = step;
    let args = args![m.at(&slots.table), slots.count as i64, lr, b1, b2, eps];
    m.launch(Launch::rows(KERNELS, "adam_update", slots.chunks, args)?)
}
