//! The two inner loops of convolution, in AVX-512: sums over windows, and their gradient for the weights.
//!
//! A block of `P` pixels (or `J` weights) by `B` vectors of output channels stays in registers while the sum runs over
//! its depth; each step loads `B` vectors and broadcasts `P` floats. Plain loops over arrays were compiled to a
//! thirtieth of this speed. Blocks are as large as the 32 registers allow, so that loads keep pace with arithmetic.

#![allow(unsafe_code)]

use super::panels::Panel;
use super::wide::LANES;
use super::window::{Run, Segment};
use std::arch::x86_64::{
    __m512, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

/// Whether this processor runs the kernels.
pub fn available() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
}

/// The lanes of each vector of a block that are output channels.
fn masks<const B: usize>(lanes: usize) -> [__mmask16; B] {
    let mut masks = [0; B];
    for (b, mask) in masks.iter_mut().enumerate() {
        let live = lanes.saturating_sub(b * LANES).min(LANES);
        *mask = if live == 0 { 0 } else { u16::MAX >> (LANES - live) };
    }
    masks
}

/// Calls the kernel whose block has `$n` rows.
macro_rules! sized {
    ($n:expr, $f:ident, $b:literal, $args:tt, $($size:literal)*) => {
        match $n {
            $($size => sized!(@call $f, $size, $b, $args),)*
            other => unreachable!("a block of {other} rows"),
        }
    };
    (@call $f:ident, $size:literal, $b:literal, ($($arg:expr),*)) => {
        $f::<$size, $b>($($arg),*)
    };
}

/// `out[pixel] (+)= sum over segments and depth of source * weights`, for every pixel of the runs and the channels of one
/// panel. `steps` are the distances of neighbouring pixels in the source and in `out`.
///
/// # Panics
/// When a slice is too short, or without AVX-512.
pub fn products(
    source: &[f32],
    runs: &[Run],
    steps: (usize, usize),
    segments: &[Segment],
    panel: Panel<'_>,
    out: &mut [f32],
    accumulate: bool,
) {
    let depth: usize = segments.iter().map(|s| s.depth).sum();
    let reach = segments.iter().map(|s| s.offset + s.depth).max().unwrap_or(0);
    assert!(available() && panel.weights.len() == depth * panel.vectors * LANES, "products: a panel of another depth");
    assert!(panel.lanes <= panel.vectors * LANES, "products: {} channels in {} vectors", panel.lanes, panel.vectors);
    for run in runs.iter().filter(|r| r.len > 0) {
        assert!(run.source + (run.len - 1) * steps.0 + reach <= source.len(), "products: {run:?} leaves the source");
        assert!(run.out + (run.len - 1) * steps.1 + panel.lanes <= out.len(), "products: {run:?} leaves the output");
    }
    let most = [0, 16, 12, 0, 6][panel.vectors];
    for run in runs.iter().filter(|r| r.len > 0) {
        // Blocks of nearly one size: a short rest would leave registers idle.
        let blocks = run.len.div_ceil(most);
        for block in 0..blocks {
            let (first, end) = (run.len * block / blocks, run.len * (block + 1) / blocks);
            // SAFETY: the assertions above keep every read and write of the run inside its slice.
            unsafe {
                let from = source.as_ptr().add(run.source + first * steps.0);
                let to = out.as_mut_ptr().add(run.out + first * steps.1);
                let count = end - first;
                match panel.vectors {
                    1 => sized!(count, rows, 1, (from, to, steps, segments, panel, accumulate),
                        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
                    2 => sized!(count, rows, 2, (from, to, steps, segments, panel, accumulate),
                        1 2 3 4 5 6 7 8 9 10 11 12),
                    _ => sized!(count, rows, 4, (from, to, steps, segments, panel, accumulate), 1 2 3 4 5 6),
                }
            }
        }
    }
}

/// # Safety
/// `P` windows of the segments can be read at `from`, `P` times the panel's lanes written at `to`.
#[target_feature(enable = "avx512f")]
unsafe fn rows<const P: usize, const B: usize>(
    from: *const f32,
    to: *mut f32,
    steps: (usize, usize),
    segments: &[Segment],
    panel: Panel<'_>,
    accumulate: bool,
) {
    let masks = masks::<B>(panel.lanes);
    let mut sum = [[_mm512_setzero_ps(); B]; P];
    if accumulate {
        for (p, sum) in sum.iter_mut().enumerate() {
            for (b, sum) in sum.iter_mut().enumerate() {
                // SAFETY: the caller's word.
                *sum = unsafe { _mm512_maskz_loadu_ps(masks[b], to.add(p * steps.1 + b * LANES)) };
            }
        }
    }
    let mut weights = panel.weights.as_ptr();
    for segment in segments {
        let mut at = [from; P];
        for (p, at) in at.iter_mut().enumerate() {
            // SAFETY: the caller's word.
            *at = unsafe { from.add(p * steps.0 + segment.offset) };
        }
        let mut d = 0;
        // Unrolled where registers hold the pointers of all rows: a tenth faster.
        while B == 4 && d + UNROLL <= segment.depth {
            if d % LANES == 0 {
                // The windows of the next pixels: they come from memory in as many streams as there are rows.
                for at in &at {
                    _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(d + P * steps.0).cast());
                }
            }
            for u in 0..UNROLL {
                // SAFETY: the panel holds `B` vectors for each step of the depth; the caller's word for the windows.
                weights = unsafe { advance(&mut sum, &at, d + u, weights) };
            }
            d += UNROLL;
        }
        while d < segment.depth {
            // SAFETY: as above.
            weights = unsafe { advance(&mut sum, &at, d, weights) };
            d += 1;
        }
    }
    for (p, sum) in sum.iter().enumerate() {
        for (b, sum) in sum.iter().enumerate() {
            // SAFETY: the caller's word.
            unsafe { _mm512_mask_storeu_ps(to.add(p * steps.1 + b * LANES), masks[b], *sum) };
        }
    }
}

/// Steps of the depth in one turn of the loop.
const UNROLL: usize = 4;

/// One step of the depth; the weights of the next come back.
///
/// # Safety
/// Float `d` of each window and `B` vectors of weights can be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn advance<const P: usize, const B: usize>(
    sum: &mut [[__m512; B]; P],
    at: &[*const f32; P],
    d: usize,
    weights: *const f32,
) -> *const f32 {
    let mut values = [_mm512_setzero_ps(); B];
    for (b, value) in values.iter_mut().enumerate() {
        // SAFETY: the caller's word.
        *value = unsafe { _mm512_loadu_ps(weights.add(b * LANES)) };
    }
    for (sum, at) in sum.iter_mut().zip(at) {
        // SAFETY: the caller's word.
        multiply(sum, unsafe { *at.add(d) }, &values);
    }
    weights.wrapping_add(B * LANES)
}

/// Most weights of a block of [`outer`], by the vectors of channels.
pub const MOST_WEIGHTS: [usize; 3] = [0, 16, 12];

/// `sum[j, channel] (+)= sum over pixels of source[pixel + j] * dy[pixel, channel]` for `depth` floats `j` from the start
/// of each window on, at most [`MOST_WEIGHTS`]. `dy` holds the pixels of all runs in turn, [`LANES`] or twice as many channels each (`vectors` 1 or
/// 2); rows of `sum` are `width` long and get `lanes` channels.
///
/// # Panics
/// When a slice is too short, there are more weights, or without AVX-512.
pub fn outer(
    source: &[f32],
    runs: &[Run],
    step: usize,
    depth: usize,
    (dy, vectors, lanes): (&[f32], usize, usize),
    (sum, width): (&mut [f32], usize),
    accumulate: bool,
) {
    let pixels: usize = runs.iter().map(|r| r.len).sum();
    assert!(available() && dy.len() >= pixels * vectors * LANES, "outer: {} floats for {pixels} pixels", dy.len());
    assert!(
        lanes <= vectors * LANES && (depth == 0 || sum.len() >= (depth - 1) * width + lanes),
        "outer: sums too short"
    );
    for run in runs.iter().filter(|r| r.len > 0) {
        assert!(run.source + (run.len - 1) * step + depth <= source.len(), "outer: {run:?} leaves the source");
    }
    // SAFETY: the assertions above keep every read and write inside its slice.
    unsafe {
        let (from, to) = (source.as_ptr(), sum.as_mut_ptr());
        match vectors {
            1 => sized!(depth, columns, 1, (from, runs, step, dy, (to, width), lanes, accumulate),
                1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
            _ => sized!(depth, columns, 2, (from, runs, step, dy, (to, width), lanes, accumulate),
                1 2 3 4 5 6 7 8 9 10 11 12),
        }
    }
}

/// # Safety
/// `J` floats can be read at every pixel of the runs from `from` on, `B` vectors of `dy` for each pixel; `J` rows of
/// `lanes` floats, `width` apart, can be written at `to`.
#[target_feature(enable = "avx512f")]
unsafe fn columns<const J: usize, const B: usize>(
    from: *const f32,
    runs: &[Run],
    step: usize,
    dy: &[f32],
    (to, width): (*mut f32, usize),
    lanes: usize,
    accumulate: bool,
) {
    let mut sum = [[_mm512_setzero_ps(); B]; J];
    let mut dy = dy.as_ptr();
    for run in runs {
        // SAFETY: the caller's word, here and below.
        let mut at = unsafe { from.add(run.source) };
        for _ in 0..run.len {
            let mut values = [_mm512_setzero_ps(); B];
            for (b, value) in values.iter_mut().enumerate() {
                *value = unsafe { _mm512_loadu_ps(dy.add(b * LANES)) };
            }
            for (j, sum) in sum.iter_mut().enumerate() {
                multiply(sum, unsafe { *at.add(j) }, &values);
            }
            dy = dy.wrapping_add(B * LANES);
            at = at.wrapping_add(step);
        }
    }
    let masks = masks::<B>(lanes);
    for (j, sum) in sum.iter().enumerate() {
        for (b, sum) in sum.iter().enumerate() {
            // SAFETY: the caller's word.
            unsafe {
                let at = to.add(j * width + b * LANES);
                let before = if accumulate { _mm512_maskz_loadu_ps(masks[b], at) } else { _mm512_setzero_ps() };
                _mm512_mask_storeu_ps(at, masks[b], _mm512_add_ps(before, *sum));
            }
        }
    }
}

/// The first `depth` floats, at most [`LANES`], of every window of the runs, as vectors `width` apart in `columns`; zero
/// past `depth`.
///
/// # Panics
/// When a slice is too short, or without AVX-512.
pub fn line_up(from: &[f32], runs: &[Run], step: usize, depth: usize, columns: &mut [f32], width: usize) {
    let pixels: usize = runs.iter().map(|r| r.len).sum();
    assert!(available() && depth <= LANES && width >= LANES, "line_up: windows of {depth}, {width} apart");
    assert!(pixels == 0 || columns.len() >= (pixels - 1) * width + LANES, "line_up: no room for {pixels} windows");
    for run in runs.iter().filter(|r| r.len > 0) {
        assert!(run.source + (run.len - 1) * step + depth <= from.len(), "line_up: {run:?} leaves the source");
    }
    // SAFETY: the assertions above.
    unsafe { copy_columns(from, runs, step, depth, columns, width) }
}

/// # Safety
/// As [`line_up`] asserts.
#[target_feature(enable = "avx512f")]
unsafe fn copy_columns(from: &[f32], runs: &[Run], step: usize, depth: usize, columns: &mut [f32], width: usize) {
    let [mask] = masks::<1>(depth);
    let mut to = columns.as_mut_ptr();
    for run in runs {
        let mut at = from.as_ptr().wrapping_add(run.source);
        for _ in 0..run.len {
            // SAFETY: the caller's word; lanes past `depth` are not read.
            unsafe { _mm512_storeu_ps(to, _mm512_maskz_loadu_ps(mask, at)) };
            at = at.wrapping_add(step);
            to = to.wrapping_add(width);
        }
    }
}

/// `sum += scale * values`.
#[target_feature(enable = "avx512f")]
#[inline]
fn multiply<const B: usize>(sum: &mut [__m512; B], scale: f32, values: &[__m512; B]) {
    let scale = _mm512_set1_ps(scale);
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum = _mm512_fmadd_ps(scale, *value, *sum);
    }
}
