//! Accuracy, and how alike features are: what is reported beside a loss, and has no gradient.

mod cpu;
#[cfg(all(test, unix))]
mod emulated;
pub(crate) mod gpu;
mod labels;
#[cfg(test)]
mod tests;

use crate::gpu::dispatch;
use candle_core::{Result, Tensor, bail};

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

/// How alike the rows of `features` `[R, D]` are: the mean over all pairs of rows, each with itself too, of their cosine, a scalar
/// where the features are, f64 or on a GPU f32. It is the squared length of the mean of the rows at length 1, and what it lacks
/// to 1 their variance: none where a network gives the same for every image. A row of zeros counts as unlike all.
///
/// # Errors
/// When the features are no contiguous f32 matrix, or there is no row.
pub fn mean_cosine(features: &Tensor) -> Result<Tensor> {
    if features.dims2()?.0 == 0 {
        bail!("a mean cosine of no rows")
    }
    dispatch!(features => mean_cosine(features))
}
