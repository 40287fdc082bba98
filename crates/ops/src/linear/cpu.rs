//! Biases on the CPU.

use crate::tensor::{from_vec, update_with, with_slice};
use candle_core::{Result, Tensor};

/// Adds `bias` `[O]` to every row of `out` `[R, O]`, in place.
///
/// # Errors
/// When a tensor is no contiguous f32 tensor on the CPU.
pub fn add_bias(out: &Tensor, bias: &Tensor) -> Result<()> {
    let (_, o) = out.dims2()?;
    update_with(out, bias, |out, b| {
        out.chunks_exact_mut(o).for_each(|row| row.iter_mut().zip(b).for_each(|(y, b)| *y += b));
    })
}

/// The sums of the columns of `[R, O]`: the gradient of a bias.
///
/// # Errors
/// When it is no contiguous f32 tensor on the CPU.
pub fn sum_rows(dy: &Tensor) -> Result<Tensor> {
    let (_, o) = dy.dims2()?;
    let sums = with_slice(dy, |dy| {
        let mut db = vec![0.0f64; o];
        dy.chunks_exact(o).for_each(|row| db.iter_mut().zip(row).for_each(|(b, g)| *b += *g as f64));
        Ok(db.iter().map(|b| *b as f32).collect())
    })?;
    from_vec(sums, o)
}
