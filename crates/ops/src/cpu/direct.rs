//! Convolution with few channels, without im2col: stride 1, odd kernels.
//!
//! With 16 or 32 channels a product of matrices cannot keep the vector units busy while it also copies patches. Here a
//! band of the padded input is copied once, and a block of neighbouring outputs stays in registers while the kernel
//! runs over the band. The inner loops are AVX-512 intrinsics (plain loops were compiled to a thirtieth of the speed);
//! other processors take the matrix product (see [`fits`]).

use super::conv::Geometry;
use super::filled;
use rayon::prelude::*;
use std::cell::RefCell;

/// Floats of a padded band (128 KiB).
const BAND: usize = 1 << 15;
/// Most channels on either side: with more a product of matrices is as fast.
const MOST: usize = 64;

/// Whether [`forward`] and [`weight_gradient`] take this convolution on this machine.
pub fn fits(g: &Geometry) -> bool {
    g.stride == 1 && g.k > 1 && g.o <= MOST && g.c <= MOST && g.oh == g.h && g.ow == g.w && fast()
}

fn fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

thread_local! {
    static PADDED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// How an image is cut into bands of rows; depends on the shape alone.
fn band_rows(g: &Geometry) -> usize {
    let row = (g.w + g.k - 1) * g.c;
    (BAND / row).saturating_sub(g.k - 1).clamp(1, g.h)
}

/// Calls `f` with the zero-padded input rows that output rows `first..first + rows` see: `[rows + K - 1, W + K - 1, C]`.
fn with_padded<R>(g: &Geometry, image: &[f32], first: usize, rows: usize, f: impl FnOnce(&[f32]) -> R) -> R {
    let width = (g.w + g.k - 1) * g.c;
    let mut buffer = PADDED.take();
    buffer.clear();
    buffer.resize((rows + g.k - 1) * width, 0.0);
    for (i, line) in buffer.chunks_exact_mut(width).enumerate() {
        if let Some(y) = (first + i).checked_sub(g.before).filter(|y| *y < g.h) {
            line[g.before * g.c..][..g.w * g.c].copy_from_slice(&image[y * g.w * g.c..][..g.w * g.c]);
        }
    }
    let result = f(&buffer);
    PADDED.replace(buffer);
    result
}

/// `[N, H, W, C]` by weights laid out as `[K, K, C, O]` to `[N, H, W, O]`; only where [`fits`] says so.
pub fn forward(g: &Geometry, x: &[f32], weight: &[f32]) -> Vec<f32> {
    assert!(fits(g) && weight.len() == g.k * g.k * g.c * g.o, "direct convolution: {g:?}");
    let (rows, row) = (band_rows(g), g.w * g.o);
    let image = g.h * g.w * g.c;
    filled(g.n * g.h * row, |out| {
        out.par_chunks_mut(g.h * row).zip(x.par_chunks(image)).for_each(|(out, x)| {
            for (band, out) in out.chunks_mut(rows * row).enumerate() {
                with_padded(g, x, band * rows, out.len() / row, |padded| band_forward(g, padded, weight, out));
            }
        })
    })
}

/// Adds the weight gradient of some images, `[K, K, C, O]`, to `sum`; only where [`fits`] says so.
pub fn weight_gradient(g: &Geometry, x: &[f32], dy: &[f32], sum: &mut [f32]) {
    assert!(fits(g) && sum.len() == g.k * g.k * g.c * g.o, "direct convolution: {g:?}");
    let (rows, row) = (band_rows(g), g.w * g.o);
    for (x, dy) in x.chunks_exact(g.h * g.w * g.c).zip(dy.chunks_exact(g.h * row)) {
        for (band, dy) in dy.chunks(rows * row).enumerate() {
            with_padded(g, x, band * rows, dy.len() / row, |padded| band_weights(g, padded, dy, sum));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn band_forward(g: &Geometry, padded: &[f32], weight: &[f32], out: &mut [f32]) {
    let rows = out.len() / (g.w * g.o);
    assert!(padded.len() >= (rows + g.k - 1) * (g.w + g.k - 1) * g.c);
    // SAFETY: `fits` has found AVX-512; the assertions here and in `forward` are those that the kernel asks for.
    unsafe { avx512::forward(g, rows, padded, weight, out) }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn band_weights(g: &Geometry, padded: &[f32], dy: &[f32], sum: &mut [f32]) {
    let rows = dy.len() / (g.w * g.o);
    assert!(padded.len() >= (rows + g.k - 1) * (g.w + g.k - 1) * g.c);
    // SAFETY: as in `band_forward`.
    unsafe { avx512::weights(g, rows, padded, dy, sum) }
}

#[cfg(not(target_arch = "x86_64"))]
fn band_forward(_: &Geometry, _: &[f32], _: &[f32], _: &mut [f32]) {
    unreachable!("`fits` is false on this processor")
}

#[cfg(not(target_arch = "x86_64"))]
fn band_weights(_: &Geometry, _: &[f32], _: &[f32], _: &mut [f32]) {
    unreachable!("`fits` is false on this processor")
}

/// The kernels. A block of `P` outputs (or `J` weights) times `B` vectors of channels stays in registers.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx512 {
    use super::Geometry;
    use crate::cpu::channels::LANES;
    use std::arch::x86_64::{
        __m512, __mmask16, _mm512_add_ps, _mm512_fmadd_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps,
    };

    /// Output channels `first..` of which a block takes care; lanes past the last channel are masked.
    #[derive(Clone, Copy)]
    struct Channels {
        first: usize,
        /// Lanes of the block's last vector that are channels.
        last: __mmask16,
    }

    impl Channels {
        /// The block from `first` on, and whether it has two vectors.
        fn from(first: usize, o: usize) -> (Self, bool) {
            let two = o - first > LANES;
            let lanes = (o - first - if two { LANES } else { 0 }).min(LANES);
            (Self { first, last: (u16::MAX) >> (LANES - lanes) }, two)
        }

        /// The lanes of vector `b` of `B`.
        fn mask<const B: usize>(self, b: usize) -> __mmask16 {
            if b + 1 == B { self.last } else { u16::MAX }
        }
    }

    /// A band of outputs `[rows, W, O]`.
    ///
    /// # Safety
    /// `padded` holds `[rows + K - 1, W + K - 1, C]`, `weight` `[K, K, C, O]`, `out` `[rows, W, O]`.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn forward(g: &Geometry, rows: usize, padded: &[f32], weight: &[f32], out: &mut [f32]) {
        let width = (g.w + g.k - 1) * g.c;
        for y in 0..rows {
            let (padded, out) = (&padded[y * width..], &mut out[y * g.w * g.o..]);
            let mut channel = 0;
            while channel < g.o {
                // SAFETY: the row's window ends with the band's; channels end with `O`.
                unsafe {
                    match Channels::from(channel, g.o) {
                        (channels, true) => row::<8, 2>(g, padded, weight, channels, out),
                        (channels, false) => row::<16, 1>(g, padded, weight, channels, out),
                    }
                }
                channel += 2 * LANES;
            }
        }
    }

    /// # Safety
    /// As [`forward`], for the row at the start of `padded` and `out`, and `B` vectors of channels.
    #[target_feature(enable = "avx512f")]
    unsafe fn row<const P: usize, const B: usize>(
        g: &Geometry,
        padded: &[f32],
        weight: &[f32],
        channels: Channels,
        out: &mut [f32],
    ) {
        let mut x = 0;
        // SAFETY: each block ends within the row.
        unsafe {
            while x + P <= g.w {
                outputs::<P, B>(g, padded, weight, (x, channels), out);
                x += P;
            }
            while x + 4 <= g.w {
                outputs::<4, B>(g, padded, weight, (x, channels), out);
                x += 4;
            }
            while x < g.w {
                outputs::<1, B>(g, padded, weight, (x, channels), out);
                x += 1;
            }
        }
    }

    /// # Safety
    /// As [`row`], and `x + P <= W`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn outputs<const P: usize, const B: usize>(
        g: &Geometry,
        padded: &[f32],
        weight: &[f32],
        (x, channels): (usize, Channels),
        out: &mut [f32],
    ) {
        let (width, span) = ((g.w + g.k - 1) * g.c, g.k * g.c);
        let mut sum = [[_mm512_set1_ps(0.0); B]; P];
        for ky in 0..g.k {
            // SAFETY: the last read of the window is that of output x + P - 1 <= W - 1: (W - 1) C + K C - 1 is the
            // last float of the padded row; weights are read up to K K C O.
            unsafe {
                let window = padded.as_ptr().add(ky * width + x * g.c);
                let weight = weight.as_ptr().add(ky * span * g.o + channels.first);
                for j in 0..span {
                    let values = vectors::<B>(weight.add(j * g.o), channels);
                    for (p, sum) in sum.iter_mut().enumerate() {
                        fma(sum, *window.add(p * g.c + j), &values);
                    }
                }
            }
        }
        for (p, sum) in sum.iter().enumerate() {
            for (b, sum) in sum.iter().enumerate() {
                // SAFETY: output x + p of the row, a vector of its channels and no more.
                unsafe {
                    let at = out.as_mut_ptr().add((x + p) * g.o + channels.first + b * LANES);
                    _mm512_mask_storeu_ps(at, channels.mask::<B>(b), *sum);
                }
            }
        }
    }

    /// Adds what a band gives to the weight gradient `[K, K, C, O]`.
    ///
    /// # Safety
    /// `padded` holds `[rows + K - 1, W + K - 1, C]`, `dy` `[rows, W, O]`, `sum` `[K, K, C, O]`.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn weights(g: &Geometry, rows: usize, padded: &[f32], dy: &[f32], sum: &mut [f32]) {
        let mut channel = 0;
        while channel < g.o {
            // SAFETY: channels end with `O`.
            unsafe {
                match Channels::from(channel, g.o) {
                    (channels, true) => columns::<8, 2>(g, rows, padded, dy, channels, sum),
                    (channels, false) => columns::<16, 1>(g, rows, padded, dy, channels, sum),
                }
            }
            channel += 2 * LANES;
        }
    }

    /// # Safety
    /// As [`weights`], for `B` vectors from `channel` on.
    #[target_feature(enable = "avx512f")]
    unsafe fn columns<const J: usize, const B: usize>(
        g: &Geometry,
        rows: usize,
        padded: &[f32],
        dy: &[f32],
        channels: Channels,
        sum: &mut [f32],
    ) {
        let span = g.k * g.c;
        for ky in 0..g.k {
            let mut j = 0;
            // SAFETY: each block of weights ends within the kernel's row.
            unsafe {
                while j + J <= span {
                    block::<J, B>(g, rows, padded, dy, (ky, j, channels), sum);
                    j += J;
                }
                while j + 3 <= span {
                    block::<3, B>(g, rows, padded, dy, (ky, j, channels), sum);
                    j += 3;
                }
                while j < span {
                    block::<1, B>(g, rows, padded, dy, (ky, j, channels), sum);
                    j += 1;
                }
            }
        }
    }

    /// # Safety
    /// As [`columns`], and `ky < K`, `j + J <= K C`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn block<const J: usize, const B: usize>(
        g: &Geometry,
        rows: usize,
        padded: &[f32],
        dy: &[f32],
        (ky, j, channels): (usize, usize, Channels),
        sum: &mut [f32],
    ) {
        let width = (g.w + g.k - 1) * g.c;
        let mut total = [[_mm512_set1_ps(0.0); B]; J];
        for y in 0..rows {
            // SAFETY: rows y + ky <= rows + K - 2 of the band; in a row the last read is (W - 1) C + K C - 1.
            unsafe {
                let window = padded.as_ptr().add((y + ky) * width + j);
                let dy = dy.as_ptr().add(y * g.w * g.o + channels.first);
                for x in 0..g.w {
                    let values = vectors::<B>(dy.add(x * g.o), channels);
                    for (i, total) in total.iter_mut().enumerate() {
                        fma(total, *window.add(x * g.c + i), &values);
                    }
                }
            }
        }
        for (i, total) in total.iter().enumerate() {
            for (b, total) in total.iter().enumerate() {
                // SAFETY: weight (ky, j + i), a vector of its output channels and no more.
                unsafe {
                    let at = sum.as_mut_ptr().add((ky * g.k * g.c + j + i) * g.o + channels.first + b * LANES);
                    let mask = channels.mask::<B>(b);
                    _mm512_mask_storeu_ps(at, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, at), *total));
                }
            }
        }
    }

    /// # Safety
    /// The `B` vectors of `channels` can be read at `at`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn vectors<const B: usize>(at: *const f32, channels: Channels) -> [__m512; B] {
        let mut out = [_mm512_set1_ps(0.0); B];
        for (b, out) in out.iter_mut().enumerate() {
            // SAFETY: the caller's word.
            *out = unsafe { _mm512_maskz_loadu_ps(channels.mask::<B>(b), at.add(b * LANES)) };
        }
        out
    }

    /// `sum += scale * values`.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn fma<const B: usize>(sum: &mut [__m512; B], scale: f32, values: &[__m512; B]) {
        let scale = _mm512_set1_ps(scale);
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum = _mm512_fmadd_ps(scale, *value, *sum);
        }
    }
}
