//! Steps of the optimisers over tensors on a GPU: all parameters in one or two launches.

use super::gpu::{Gpu, at};
use super::optimizer::{Slot, Slots};
use candle_core::{Result, bail};

pub use super::optimizer::LarsStep;
use candle_core::Tensor;

/// One parameter of a step, changed in place together with its states; all of one shape, f32, on one GPU.
pub struct Parameter<'a> {
    /// The weights.
    pub weight: &'a Tensor,
    /// Their gradient.
    pub gradient: &'a Tensor,
    /// Momentum, or Adam's first moment.
    pub first: &'a Tensor,
    /// Adam's second moment.
    pub second: Option<&'a Tensor>,
    /// LARS decays it and adapts its rate.
    pub adapted: bool,
}

/// Lists the parameters; `None` where there are none.
fn slots(parameters: &[Parameter<'_>]) -> Result<Option<(Gpu, Slots<Gpu>)>> {
    let Some(one) = parameters.first() else { return Ok(None) };
    let gpu = Gpu::of(one.weight)?;
    let slot = |p: &Parameter<'_>| {
        let len = p.weight.elem_count();
        let others = [Some(p.gradient), Some(p.first), p.second];
        if let Some(other) = others.into_iter().flatten().find(|t| t.elem_count() != len) {
            bail!("a gradient or state of shape {:?} for weights {:?}", other.shape(), p.weight.shape())
        }
        Ok(Slot {
            w: at(p.weight)?,
            g: at(p.gradient)?,
            first: at(p.first)?,
            second: p.second.map(at).transpose()?,
            len,
            adapted: p.adapted,
        })
    };
    let slots = Slots::new(&gpu, &parameters.iter().map(slot).collect::<Result<Vec<_>>>()?)?;
    Ok(Some((gpu, slots)))
}

/// One step of LARS.
///
/// # Errors
/// When a tensor does not fit its weights, or is not f32 on their GPU.
pub fn lars(parameters: &[Parameter<'_>], step: LarsStep) -> Result<()> {
    slots(parameters)?.map_or(Ok(()), |(gpu, slots)| slots.lars(&gpu, step))
}

/// One step of SGD with Nesterov momentum.
///
/// # Errors
/// As [`lars`].
pub fn sgd(parameters: &[Parameter<'_>], lr: f32, momentum: f32) -> Result<()> {
    slots(parameters)?.map_or(Ok(()), |(gpu, slots)| slots.sgd(&gpu, lr, momentum))
}

/// One step of Adam; `lr` holds the bias correction.
///
/// # Errors
/// As [`lars`].
pub fn adam(parameters: &[Parameter<'_>], lr: f32, betas: (f32, f32), eps: f32) -> Result<()> {
    slots(parameters)?.map_or(Ok(()), |(gpu, slots)| slots.adam(&gpu, lr, betas, eps))
}
