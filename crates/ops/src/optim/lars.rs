//! LARS (You et al. 2017).

use super::cpu::{CHUNK, change, squares};
use super::each::each;
use super::gpu::{KERNELS, Slots};
use super::parameter::Parameter;
use crate::gpu::machine::{Launch, Machine, args};
use crate::tensor::{update, update_with, with_slice};
use candle_core::Result;

/// What a step of LARS is made with.
#[derive(Clone, Copy, Debug)]
pub struct LarsStep {
    /// The learning rate.
    pub lr: f64,
    /// The trust coefficient.
    pub eta: f64,
    /// Of the velocity.
    pub momentum: f32,
    /// Of weights, where they are adapted.
    pub decay: f32,
    /// The rate enters the momentum.
    pub classic: bool,
    /// Step along the momentum's next value.
    pub nesterov: bool,
}

impl LarsStep {
    /// The trust ratio; 1 where a norm is zero, as both are for what is excluded.
    fn trust(&self, weight: f64, update: f64) -> f64 {
        if weight > 0.0 && update > 0.0 { self.eta * weight / update } else { 1.0 }
    }
}

/// One step of LARS (You et al. 2017, algorithm 1; both forms of momentum of the reference).
///
/// With classic momentum the scaled learning rate enters the momentum:
/// `v <- m v + lr t (g + d w)`, `w <- w - v` with the trust ratio `t = eta |w| / |g + d w|`, 1 where a norm is zero.
///
/// # Errors
/// When a tensor does not fit its weights, or is no contiguous f32 tensor on their device.
pub fn lars(parameters: &[Parameter<'_>], step: LarsStep) -> Result<()> {
    each(parameters, |p| on_cpu(p, step), |gpu, slots| launch(gpu, slots, step))
}

fn on_cpu(p: &Parameter<'_>, step: LarsStep) -> Result<()> {
    let LarsStep { lr, momentum: m, classic, nesterov, .. } = step;
    let (v, adapted) = (p.first, p.adapted);
    let decay = if adapted { step.decay } else { 0.0 };
    with_slice(p.gradient, |g| {
        // Two passes over memory: one for the norms, one that moves.
        let mut factor = 1.0;
        with_slice(p.weight, |w| {
            if !classic {
                return update(v, |v| change(v, g, w, |v, g, w| *v = m * *v + (g + decay * w)));
            }
            let norms = || squares(w.len(), CHUNK, |i| [w[i], g[i] + decay * w[i]]).map(f64::sqrt);
            let [weight, update_] = if adapted { norms() } else { [0.0; 2] };
            factor = (lr * step.trust(weight, update_)) as f32;
            update(v, |v| change(v, g, w, |v, g, w| *v = m * *v + factor * (g + decay * w)))
        })?;
        // What the weight moves by, before the rate where that does not enter the momentum.
        let moves = |v: f32, g: f32, w: f32| if nesterov { m * v + factor * (g + decay * w) } else { v };
        update_with(p.weight, v, |w, v| {
            if classic {
                return change(w, v, g, |w, v, g| *w -= moves(v, g, *w));
            }
            let norms = || squares(w.len(), CHUNK, |i| [w[i], moves(v[i], g[i], w[i])]).map(f64::sqrt);
            let [weight, update] = if adapted { norms() } else { [0.0; 2] };
            let rate = (lr * step.trust(weight, update)) as f32;
            change(w, v, g, |w, v, g| *w -= rate * moves(v, g, *w));
        })
    })
}

/// The step by two launches: norms, then what moves.
pub(super) fn launch<M: Machine>(m: &M, slots: &Slots<M>, step: LarsStep) -> Result<()> {
    let LarsStep { lr, eta, momentum, decay, classic, nesterov } = step;
    let (table, count, squares) = (m.at(&slots.table), slots.count as i64, m.room::<f64>(2 * slots.chunks)?);
    let args = args![table, count, momentum, decay, classic, nesterov, m.at(&squares)];
    m.launch(Launch::rows(KERNELS, "lars_norms", slots.chunks, args)?)?;
    let args = args![table, count, m.at(&squares), lr, eta, momentum, decay, classic, nesterov];
    m.launch(Launch::rows(KERNELS, "lars_update", slots.chunks, args)?)
}
