//! Tensors of candle: their memory, sums in place, uploads, and scalars that are read later.

pub(crate) mod access;
pub(crate) mod buffer;
mod cpu;
#[cfg(all(test, unix))]
mod emulated;
mod figures;
pub(crate) mod gpu;
mod pixel;
mod upload;

use crate::gpu::{Gpu, dispatch};
use candle_core::{DType, Result, Tensor, bail};

pub use access::{from_vec, update, update_with, with_slice};
pub use buffer::filled;
pub use figures::Figures;
pub use pixel::{Pixel, Pixels};
pub use upload::{Sent, Uploaded, Uploader};

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
pub fn scale_by(values: &Tensor, factor: &Tensor) -> Result<()> {
    dispatch!(values => scale_by(values, factor))
}

/// Pixels that came to a GPU as bytes, `k / 255`, as f32 or bf16: the bits of `k * (1 / 255)`, rounded where they are bf16.
///
/// # Errors
/// When they are on the CPU, where pixels never are bytes, or memory is short.
pub(crate) fn scaled(bytes: &Tensor, dtype: DType) -> Result<Tensor> {
    match (Gpu::of(bytes), dtype) {
        (Some(gpu), DType::BF16) => gpu::scale_bytes::<half::bf16>(&gpu, bytes),
        (Some(gpu), _) => gpu::scale_bytes::<f32>(&gpu, bytes),
        (None, _) => bail!("bytes of shape {:?} on the CPU: there pixels are made as {dtype:?}", bytes.shape()),
    }
}
