//! Tensors of candle: their memory, sums in place, uploads, and scalars that are read later.

pub(crate) mod access;
pub(crate) mod buffer;
mod cpu;
#[cfg(all(test, unix))]
mod emulated;
mod figures;
pub(crate) mod gpu;
mod upload;

use crate::gpu::dispatch;
use candle_core::{Result, Tensor, bail};

pub use access::{from_vec, update, update_with, with_slice};
pub use buffer::filled;
pub use figures::Figures;
pub use upload::{Uploaded, Uploader};

/// `sum += term`, in place.
///
/// # Errors
/// When shapes differ, or the two are on different devices.
pub fn add_assign(sum: &Tensor, term: &Tensor) -> Result<()> {
    if sum.shape() != term.shape() {
        bail!("cannot add a gradient of shape {:?} to one of {:?}", term.shape(), sum.shape())
    }
    dispatch!(sum => add_assign(sum, term))
}

/// Every number of `values` (f32) times the one number `factor`, in place.
///
/// # Errors
/// When the two are on different devices.
pub(crate) fn scale_by(values: &Tensor, factor: &Tensor) -> Result<()> {
    dispatch!(values => scale_by(values, factor))
}
