//! Bicubic resize of a rectangle of bytes to f32, as TensorFlow 2 does it.
//!
//! Half-pixel centres, no antialiasing, a = -0.5; weights of pixels outside the rectangle are dropped and the rest
//! scaled to sum 1; the fraction of a position is rounded to 1/1024, the reference's table of weights.

use super::crop::Rect;
use crate::dataset::ImageRef;
use simclr_ops::cpu::vectorized;

const STEPS: f32 = 1024.0;

/// What one output coordinate reads: four input coordinates and their weights.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Taps {
    index: [usize; 4],
    weight: [f32; 4],
}

/// Resizes images; keeps its buffers for the next one.
#[derive(Default)]
pub struct Resizer {
    rows: Vec<Taps>,
    columns: Vec<Taps>,
    /// One output row at the input's width, and a few floats more: see [`columns`].
    line: Vec<f32>,
    /// One output row, and a few floats more.
    wide: Vec<f32>,
}

impl Resizer {
    /// Writes `rect` of `image` to `out`, `[height, width, C]` with `[height, width] = size`, bytes 0..=255 becoming
    /// 0..=1. Values may overshoot that range. `mirror` swaps left and right.
    pub fn resize(&mut self, image: ImageRef<'_>, rect: Rect, mirror: bool, size: [usize; 2], out: &mut [f32]) {
        taps(rect.height, size[0], &mut self.rows);
        taps(rect.width, size[1], &mut self.columns);
        if mirror {
            self.columns.reverse();
        }
        match image.channels {
            1 => self.passes::<1, 1>(image, rect, out),
            3 => self.passes::<3, 4>(image, rect, out),
            other => panic!("images have 1 or 3 channels, not {other}"),
        }
    }

    /// Rows first: their loops run over contiguous floats, and only output rows are kept.
    fn passes<const C: usize, const LANES: usize>(&mut self, image: ImageRef<'_>, rect: Rect, out: &mut [f32]) {
        let (row_len, out_len) = (rect.width * C, self.columns.len() * C);
        self.line.clear();
        self.line.resize(row_len + LANES - C, 0.0);
        self.wide.clear();
        self.wide.resize(out_len + LANES - C, 0.0);
        let source = |y: usize| &image.data[((rect.y + y) * image.width + rect.x) * C..][..row_len];
        vectorized(
            #[inline(always)]
            || {
                for (taps, out) in self.rows.iter().zip(out.chunks_exact_mut(out_len)) {
                    rows(taps.index.map(source), taps.weight.map(|w| w / 255.0), &mut self.line[..row_len]);
                    columns::<C, LANES>(&self.columns, &self.line, &mut self.wide);
                    out.copy_from_slice(&self.wide[..out_len]);
                }
            },
        );
    }
}

#[inline(always)]
fn rows(source: [&[u8]; 4], weight: [f32; 4], line: &mut [f32]) {
    let [a, b, c, d] = source;
    for ((((out, &a), &b), &c), &d) in line.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *out = f32::from(a) * weight[0] + f32::from(b) * weight[1] + f32::from(c) * weight[2] + f32::from(d) * weight[3];
    }
}

/// Reads and writes `LANES` floats at each pixel though it has `C`: four make one vector instruction. What is written
/// too much the next pixel overwrites.
#[inline(always)]
fn columns<const C: usize, const LANES: usize>(columns: &[Taps], line: &[f32], wide: &mut [f32]) {
    for (x, taps) in columns.iter().enumerate() {
        let mut sum = [0.0f32; LANES];
        for (index, weight) in taps.index.iter().zip(taps.weight) {
            let pixel = &line[index * C..][..LANES];
            for (sum, value) in sum.iter_mut().zip(pixel) {
                *sum += weight * value;
            }
        }
        wide[x * C..][..LANES].copy_from_slice(&sum);
    }
}

/// The taps of `outputs` positions spread over `inputs` pixels.
fn taps(inputs: usize, outputs: usize, into: &mut Vec<Taps>) {
    let scale = inputs as f32 / outputs as f32;
    into.clear();
    into.extend((0..outputs).map(|x| {
        let position = (x as f32 + 0.5) * scale - 0.5;
        let base = position.floor();
        let fraction = f64::from(((position - base) * STEPS).round_ties_even() / STEPS);
        let mut weight = [far(1.0 + fraction), near(fraction), near(1.0 - fraction), far(2.0 - fraction)];
        let mut index = [0; 4];
        for k in 0..4 {
            let at = base as isize + k as isize - 1;
            index[k] = at.clamp(0, inputs as isize - 1) as usize;
            if index[k] as isize != at {
                weight[k] = 0.0;
            }
        }
        let sum: f32 = weight.iter().sum();
        Taps { index, weight: weight.map(|w| w / sum) }
    }));
}

/// The cubic kernel at distance 0..=1.
fn near(x: f64) -> f32 {
    ((1.5 * x - 2.5) * x * x + 1.0) as f32
}

/// The cubic kernel at distance 1..=2.
fn far(x: f64) -> f32 {
    (((-0.5 * x + 2.5) * x - 4.0) * x + 2.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(data: &[u8], shape: [usize; 3], rect: Rect, mirror: bool, size: [usize; 2]) -> Vec<f32> {
        let mut out = vec![f32::NAN; size[0] * size[1] * shape[2]];
        let image = ImageRef { height: shape[0], width: shape[1], channels: shape[2], data };
        Resizer::default().resize(image, rect, mirror, size, &mut out);
        out
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        for channels in [1, 3] {
            let data: Vec<u8> = (0..7 * 5 * channels).map(|i| (i * 37 % 256) as u8).collect();
            let out = resize(&data, [7, 5, channels], Rect::whole(7, 5), false, [7, 5]);
            assert!(out.iter().zip(&data).all(|(&o, &d)| (o - f32::from(d) / 255.0).abs() < 1e-6));
            let mirrored = resize(&data, [7, 5, channels], Rect::whole(7, 5), true, [7, 5]);
            assert_eq!(mirrored[..channels], out[4 * channels..5 * channels]);
        }
    }

    #[test]
    fn a_ramp_stays_a_ramp_and_a_flat_picture_flat() {
        // Cubic interpolation reproduces straight lines away from the edges.
        let ramp: Vec<u8> = (0..16 * 16).map(|i| (i % 16 * 10) as u8).collect();
        let rect = Rect { y: 1, x: 2, height: 12, width: 12 };
        let out = resize(&ramp, [16, 16, 1], rect, false, [24, 24]);
        for x in 4..20 {
            let want = (20.0 + 10.0 * ((x as f32 + 0.5) * 0.5 - 0.5)) / 255.0;
            assert!((out[5 * 24 + x] - want).abs() < 1e-6, "column {x}");
        }
        let flat = resize(&[100; 9 * 9 * 3], [9, 9, 3], Rect::whole(9, 9), false, [32, 11]);
        assert!(flat.iter().all(|v| (v - 100.0 / 255.0).abs() < 1e-6));
    }
}
