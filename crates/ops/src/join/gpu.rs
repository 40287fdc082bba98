//! Parts of a batch joined on a GPU, by candle's copies.

use crate::gpu::Gpu;
use candle_core::{Result, Tensor};

/// All first views of the parts in turn, then all second views: `[2 images, D]`.
///
/// # Errors
/// When parts are not all on one GPU.
pub fn join(_: &Gpu, parts: &[&Tensor]) -> Result<Tensor> {
    let half = |view: usize| {
        parts.iter().map(move |p| {
            let n = p.dim(0)? / 2;
            p.narrow(0, view * n, n)
        })
    };
    Tensor::cat(&half(0).chain(half(1)).collect::<Result<Vec<_>>>()?, 0)
}

/// Of a whole batch of `images`, the views of `n` images from the `first` on: `[2n, D]`.
///
/// # Errors
/// When the GPU refuses.
pub fn part(_: &Gpu, whole: &Tensor, images: usize, (first, n): (usize, usize)) -> Result<Tensor> {
    Tensor::cat(&[whole.narrow(0, first, n)?, whole.narrow(0, images + first, n)?], 0)
}
