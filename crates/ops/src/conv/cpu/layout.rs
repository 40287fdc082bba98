//! Weight gradients put together: partial sums added up, and rows of channels turned to rows of weights.

use crate::simd::LANES;
use crate::tensor::filled;
use rayon::prelude::*;

/// The partial sums added up in order.
pub fn total(partials: Vec<Vec<f32>>, size: usize) -> Vec<f32> {
    let mut partials = partials.into_iter();
    let mut total = partials.next().unwrap_or_else(|| vec![0.0; size]);
    for partial in partials {
        total.par_iter_mut().zip(&partial).with_min_len(4096).for_each(|(t, p)| *t += p);
    }
    total
}

/// The transpose, `[O, depth]`, of rows: `rows(first)` are the [`LANES`] channels from `first` on, or what is left of them,
/// of one step of the depth after the other.
pub fn transposed<'a, R: Iterator<Item = &'a [f32]>>(
    depth: usize,
    o: usize,
    rows: impl Fn(usize) -> R + Sync,
) -> Vec<f32> {
    filled(depth * o, |out| {
        out.par_chunks_mut(LANES * depth).enumerate().for_each(|(i, out)| {
            for (d, row) in rows(i * LANES).enumerate() {
                out.iter_mut().skip(d).step_by(depth).zip(row).for_each(|(out, s)| *out = *s);
            }
        });
    })
}
