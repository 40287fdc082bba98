//! Accuracy: what is reported beside a loss, and has no gradient.

mod cpu;
#[cfg(all(test, unix))]
mod emulated;
pub(crate) mod gpu;
mod labels;
#[cfg(test)]
mod tests;

use crate::gpu::dispatch;
use candle_core::{Result, Tensor};

pub use cpu::top_k;
pub(crate) use labels::check_labels;

/// The share of the labeled rows of `logits` `[R, D]` whose label is among the `k` largest values (see [`top_k`]), a scalar
/// where the logits are, f64 or on a GPU f32; NaN where no row has a label.
///
/// # Errors
/// When there is not one label a row, or a label is not below `D`.
pub fn accuracy(logits: &Tensor, labels: &[Option<u32>], k: usize) -> Result<Tensor> {
    check_labels("accuracy", logits, labels)?;
    dispatch!(logits => accuracy(logits, labels, k))
}
