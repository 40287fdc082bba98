//! Products of matrices by the kernel of convolutions, on the caller's thread.

use super::maps::{Maps, Pixels};
use super::panels::Panels;
use super::runs::{Run, Segment};
use std::ops::Range;

/// `out[M, N] (+)= a[M, K] b[K, N]`, all row-major; `panels` are those of `b`. Each sum runs along K in order.
///
/// # Panics
/// When `out` is too short.
pub fn product(a: &[f32], depth: usize, panels: &Panels, out: &mut [f32], accumulate: bool) {
    let runs = [Run { source: 0, out: 0, len: a.len() / depth }];
    let pixels = Pixels { padded: a, runs: &runs, step: depth };
    f32::products(pixels, &[Segment { offset: 0, depth }], panels, (out, panels.channels), accumulate);
}

/// Some columns of a row-major matrix with `width` of them, as rows.
pub fn turned(matrix: &[f32], width: usize, columns: Range<usize>) -> Vec<f32> {
    columns.flat_map(|column| matrix.iter().skip(column).step_by(width).copied()).collect()
}
