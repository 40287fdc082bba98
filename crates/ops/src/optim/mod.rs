//! Steps of the optimisers, sums of squares and weight decay over all parameters at once, wherever these are: one file an
//! optimiser.
//!
//! Letters: `w` a weight, `g` its gradient, `v` its momentum. Weights change in place. Sums of squares are taken in f64,
//! in one order whatever the number of threads.

mod adam;
mod cpu;
mod each;
#[cfg(all(test, unix))]
pub(crate) mod emulated;
mod gpu;
mod lars;
mod parameter;
mod sgd;

use crate::gpu::dispatch;
use candle_core::{DType, Result, Tensor, bail};

pub use adam::{AdamStep, adam};
pub use lars::{LarsStep, lars};
pub use parameter::Parameter;
pub use sgd::sgd;

/// Adds the gradient of `factor / 2 |w|^2` to that of each weight, `(gradient, weight)`, in place.
///
/// # Errors
/// When shapes differ, or a tensor is no contiguous f32 tensor on the others' device.
pub fn decay(pairs: &[(&Tensor, &Tensor)], factor: f32) -> Result<()> {
    if let Some((g, w)) = pairs.iter().find(|(g, w)| g.dims() != w.dims()) {
        bail!("weight decay: a gradient of shape {:?} for weights {:?}", g.dims(), w.dims())
    }
    match pairs.first() {
        Some((g, _)) => dispatch!(g => decay(pairs, factor)),
        None => Ok(()),
    }
}

/// Numbers (f32) rounded to bf16, of all tensors at once.
///
/// # Errors
/// When a tensor is no contiguous f32 tensor on the others' device.
pub(crate) fn round(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    match tensors.first() {
        Some(one) => dispatch!(one => round(tensors)),
        None => Ok(vec![]),
    }
}

/// The sum of the squares of all numbers, an f64 scalar where the tensors are.
///
/// # Errors
/// When there is no tensor, or one is no contiguous f32 tensor on the others' device.
pub fn sum_of_squares(tensors: &[&Tensor]) -> Result<Tensor> {
    let Some(one) = tensors.first() else { bail!("a sum of squares over no tensors") };
    dispatch!(one => sum_of_squares(tensors))
}

/// The sum of the squares of each tensor's numbers: f64, one for each tensor, where they are.
///
/// # Errors
/// When there is no tensor, or one is empty or no contiguous f32 tensor on the others' device.
pub fn squares_of_each(tensors: &[&Tensor]) -> Result<Tensor> {
    let Some(one) = tensors.first() else { bail!("sums of squares over no tensors") };
    if tensors.iter().any(|tensor| tensor.elem_count() == 0) {
        bail!("a sum of squares over a tensor without numbers")
    }
    dispatch!(one => squares_of_each(tensors))
}

/// Takes over the numbers of `from`, f32 of the same shape, in place; the two may be on different devices.
///
/// # Errors
/// When shapes differ, or a tensor is not contiguous.
pub fn assign(to: &Tensor, from: &Tensor) -> Result<()> {
    if to.dims() != from.dims() || from.dtype() != DType::F32 {
        bail!("numbers {:?} of {:?} for a tensor {:?}", from.dtype(), from.dims(), to.dims())
    }
    let from = from.to_device(to.device())?;
    dispatch!(to => assign(to, &from))
}
