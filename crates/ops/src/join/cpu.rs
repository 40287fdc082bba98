//! Parts of a batch joined on the CPU.

use crate::tensor::{from_vec, with_slice};
use candle_core::{Result, Tensor};

/// All first views of the parts in turn, then all second views: `[2 images, D]`.
///
/// # Errors
/// When a part is no contiguous f32 matrix on the CPU.
pub fn join(parts: &[&Tensor], (images, d): (usize, usize)) -> Result<Tensor> {
    let half = images * d;
    let (mut rows, mut start) = (vec![0.0f32; 2 * half], 0);
    for part in parts {
        with_slice(part, |part| {
            let len = part.len() / 2;
            rows[start..][..len].copy_from_slice(&part[..len]);
            rows[half + start..][..len].copy_from_slice(&part[len..]);
            start += len;
            Ok(())
        })?;
    }
    from_vec(rows, (2 * images, d))
}

/// Of a whole batch of `images`, the views of `n` images from the `first` on: `[2n, D]`.
///
/// # Errors
/// When it is no contiguous f32 matrix on the CPU.
pub fn part(whole: &Tensor, images: usize, (first, n): (usize, usize)) -> Result<Tensor> {
    let (_, d) = whole.dims2()?;
    with_slice(whole, |rows| {
        let view = |view: usize| &rows[(view * images + first) * d..][..n * d];
        from_vec([view(0), view(1)].concat(), (2 * n, d))
    })
}
