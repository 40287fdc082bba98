//! Bicubic resizing of a rectangle, as TensorFlow's `ResizeBicubic` does it.
//!
//! No antialiasing; the fraction is rounded to a table of 1024 steps. TF2: half-pixel centres, a = -0.5, weights that
//! fall outside the rectangle are dropped and the rest renormalised. TF1: no offset, a = -0.75, edge pixels repeated.
//! Output is planar, `[C, S, S]`.

use super::crop::Rect;
use crate::image::ImageRef;
use simclr_core::config::Resize;
use simclr_ops::simd::vectorized;

const TABLE: f32 = 1024.0;
/// How far the four source positions of an output may lie outside the rectangle.
const MARGIN: usize = 2;
/// Source rows that one output row is made of.
const ROWS: usize = 4;

/// Where the four neighbouring source positions of one output position begin, counted from `MARGIN` before the
/// rectangle, and their weights.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tap {
    first: u32,
    weight: [f32; 4],
}

/// Weights along one axis, from `from` positions to `to`.
pub fn taps(from: usize, to: usize, kind: Resize, out: &mut Vec<Tap>) {
    let scale = from as f32 / to as f32;
    let (a, offset) = match kind {
        Resize::Tf2 => (-0.5, 0.5),
        Resize::Tf1 => (-0.75, 0.0),
    };
    out.clear();
    out.resize(to, Tap::default());
    vectorized(
        #[inline(always)]
        || {
            let near = |x: f32| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
            let far = |x: f32| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
            let last = from as i32 - 1;
            for (i, tap) in out.iter_mut().enumerate() {
                let position = (i as f32 + offset) * scale - offset;
                let base = position.floor();
                let fraction = ((position - base) * TABLE).round_ties_even() / TABLE;
                let mut weight = [far(fraction + 1.0), near(fraction), near(1.0 - fraction), far(2.0 - fraction)];
                let base = (base as i32).clamp(-1, last);
                if kind == Resize::Tf2 {
                    for (k, weight) in weight.iter_mut().enumerate() {
                        let at = base + k as i32 - 1;
                        *weight = if at >= 0 && at <= last { *weight } else { 0.0 };
                    }
                    let sum: f32 = weight.iter().sum();
                    weight.iter_mut().for_each(|w| *w /= sum);
                }
                *tap = Tap { first: (base - 1 + MARGIN as i32) as u32, weight };
            }
        },
    )
}

/// Buffers that a resize needs besides its output.
#[derive(Default)]
pub struct Scratch {
    across: Vec<Tap>,
    down: Vec<Tap>,
    line: Vec<f32>,
    rows: [Vec<f32>; ROWS],
    row: Vec<f32>,
    plane: Vec<u8>,
}

/// Resizes `rect` of a uint8 image to `height` x `width` and scales it to 0..1 (overshoot is not clipped); mirrored left
/// to right when `flip`. `out` is `[C, height, width]`.
pub fn bicubic(
    image: ImageRef<'_>,
    rect: Rect,
    (height, width): (usize, usize),
    (kind, flip): (Resize, bool),
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    taps(rect.width, width, kind, &mut scratch.across);
    taps(rect.height, height, kind, &mut scratch.down);
    if flip {
        scratch.across.reverse();
    }
    match image.channels {
        1 => passes::<1, 1, 4>(image, rect, scratch, out),
        3 => passes::<3, 4, 13>(image, rect, scratch, out),
        channels => {
            // Each channel by itself, as a gray picture.
            let (at, mut plane) = (Rect { y: 0, x: 0, ..rect }, std::mem::take(&mut scratch.plane));
            for (channel, out) in out.chunks_exact_mut(height * width).enumerate() {
                plane.clear();
                for y in rect.y..rect.y + rect.height {
                    let row = &image.data[(y * image.width + rect.x) * channels..][..rect.width * channels];
                    plane.extend(row.iter().skip(channel).step_by(channels));
                }
                let image = ImageRef { height: rect.height, width: rect.width, channels: 1, data: &plane };
                passes::<1, 1, 4>(image, at, scratch, out);
            }
            scratch.plane = plane;
        }
    }
}

/// Across, then down. Only source rows that some output row wants are resized, each once: the last `ROWS` of them are
/// kept, and those of one output row are neighbours. A resized pixel is `LANES` floats wide though it has `C` of them,
/// as four are one vector; the four source pixels of it are `SPAN = 3 C + LANES` floats.
fn passes<const C: usize, const LANES: usize, const SPAN: usize>(
    image: ImageRef<'_>,
    rect: Rect,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let Scratch { across, down, line, rows, row, .. } = scratch;
    let (length, width, plane) = (rect.width * C, across.len(), across.len() * down.len());
    line.resize(length + 2 * MARGIN * C + LANES - C, 0.0);
    rows.iter_mut().chain([&mut *row]).for_each(|row| row.resize(width * LANES, 0.0));
    let mut held = [usize::MAX; ROWS];
    vectorized(
        #[inline(always)]
        || {
            for (y, tap) in down.iter().enumerate() {
                let sources: [usize; ROWS] =
                    std::array::from_fn(|k| (tap.first as usize + k).saturating_sub(MARGIN).min(rect.height - 1));
                for source in sources {
                    if held[source % ROWS] != source {
                        held[source % ROWS] = source;
                        let pixels = &image.data[((rect.y + source) * image.width + rect.x) * C..][..length];
                        widen::<C>(pixels, line);
                        resize_row::<C, LANES, SPAN>(line, across, &mut rows[source % ROWS]);
                    }
                }
                let [a, b, c, d] = sources.map(|source| &rows[source % ROWS][..]);
                let w = tap.weight.map(|w| w * (1.0 / 255.0));
                for ((((sum, a), b), c), d) in row.iter_mut().zip(a).zip(b).zip(c).zip(d) {
                    *sum = (a * w[0] + b * w[1]) + (c * w[2] + d * w[3]);
                }
                for k in 0..C {
                    let out = &mut out[k * plane + y * width..][..width];
                    for (out, pixel) in out.iter_mut().zip(row.as_chunks::<LANES>().0) {
                        *out = pixel[k];
                    }
                }
            }
        },
    );
}

/// Bytes to floats, with the first and the last pixel repeated on either side.
#[inline(always)]
fn widen<const C: usize>(pixels: &[u8], line: &mut [f32]) {
    for (wide, byte) in line[MARGIN * C..].iter_mut().zip(pixels) {
        *wide = f32::from(*byte);
    }
    for i in 0..MARGIN * C {
        line[i] = f32::from(pixels[i % C]);
        line[MARGIN * C + pixels.len() + i] = f32::from(pixels[pixels.len() - C + i % C]);
    }
}

#[inline(always)]
fn resize_row<const C: usize, const LANES: usize, const SPAN: usize>(line: &[f32], taps: &[Tap], row: &mut [f32]) {
    for (tap, out) in taps.iter().zip(row.as_chunks_mut::<LANES>().0) {
        // Always there; a window of known length is checked once rather than once a pixel.
        let Some(window) = line[tap.first as usize * C..].first_chunk::<SPAN>() else { return };
        let w = tap.weight;
        for (k, out) in out.iter_mut().enumerate() {
            *out = (window[k] * w[0] + window[C + k] * w[1]) + (window[2 * C + k] * w[2] + window[3 * C + k] * w[3]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(data: &[u8], shape: [usize; 3], rect: Rect, flip: bool, size: (usize, usize)) -> Vec<f32> {
        let mut out = vec![f32::NAN; size.0 * size.1 * shape[2]];
        let image = ImageRef { height: shape[0], width: shape[1], channels: shape[2], data };
        bicubic(image, rect, size, (Resize::Tf2, flip), &mut Scratch::default(), &mut out);
        out
    }

    #[test]
    fn the_same_size_is_the_same_picture_in_planes() {
        let whole = Rect { y: 0, x: 0, height: 7, width: 5 };
        for channels in [1, 2, 3, 5] {
            let data: Vec<u8> = (0..35 * channels).map(|i| (i * 37 % 256) as u8).collect();
            let byte = |y: usize, x: usize, k: usize| f32::from(data[(y * 5 + x) * channels + k]) / 255.0;
            for flip in [false, true] {
                let out = resize(&data, [7, 5, channels], whole, flip, (7, 5));
                for (i, got) in out.iter().enumerate() {
                    let (k, y, x) = (i / 35, i / 5 % 7, i % 5);
                    assert!((got - byte(y, if flip { 4 - x } else { x }, k)).abs() < 1e-6, "{k} {y} {x}");
                }
            }
        }
    }

    #[test]
    fn a_ramp_stays_a_ramp_and_a_flat_picture_flat() {
        // Cubic interpolation reproduces straight lines away from the edges.
        let ramp: Vec<u8> = (0..16 * 16).map(|i| (i % 16 * 10) as u8).collect();
        let rect = Rect { y: 1, x: 2, height: 12, width: 12 };
        let out = resize(&ramp, [16, 16, 1], rect, false, (24, 24));
        for x in 4..20 {
            let want = (20.0 + 10.0 * ((x as f32 + 0.5) * 0.5 - 0.5)) / 255.0;
            assert!((out[5 * 24 + x] - want).abs() < 1e-6, "column {x}");
        }
        let flat = resize(&[100; 9 * 9 * 3], [9, 9, 3], Rect { y: 0, x: 0, height: 9, width: 9 }, false, (32, 11));
        assert!(flat.iter().all(|v| (v - 100.0 / 255.0).abs() < 1e-6));
    }
}
