//! Bicubic resizing of a rectangle, as TensorFlow's `ResizeBicubic` does it.
//!
//! No antialiasing; the fraction is rounded to a table of 1024 steps. TF2: half-pixel centres, a = -0.5, weights that
//! fall outside the rectangle are dropped and the rest renormalised. TF1: no offset, a = -0.75, edge pixels repeated.
//! Output is planar, `[C, S, S]`.

use crate::crop::Rect;
use crate::dataset::ImageRef;
use simclr_core::config::Resize;

const TABLE: f32 = 1024.0;

/// The four source positions and weights of one output position.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tap {
    at: [u32; 4],
    weight: [f32; 4],
}

/// Weights along one axis, from `from` positions to `to`.
pub fn taps(from: usize, to: usize, kind: Resize, out: &mut Vec<Tap>) {
    let scale = from as f32 / to as f32;
    let (a, offset) = match kind {
        Resize::Tf2 => (-0.5, 0.5),
        Resize::Tf1 => (-0.75, 0.0),
    };
    let near = |x: f32| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    out.clear();
    out.extend((0..to).map(|i| {
        let position = (i as f32 + offset) * scale - offset;
        let base = position.floor();
        let fraction = ((position - base) * TABLE).round_ties_even() / TABLE;
        let weights = [far(fraction + 1.0), near(fraction), near(1.0 - fraction), far(2.0 - fraction)];
        let mut tap = Tap::default();
        let mut sum = 0.0;
        for (k, weight) in weights.into_iter().enumerate() {
            let at = base as i64 + k as i64 - 1;
            let counts = kind == Resize::Tf1 || (0..from as i64).contains(&at);
            tap.at[k] = at.clamp(0, from as i64 - 1) as u32;
            tap.weight[k] = if counts { weight } else { 0.0 };
            sum += tap.weight[k];
        }
        if kind == Resize::Tf2 {
            tap.weight.iter_mut().for_each(|w| *w /= sum);
        }
        tap
    }));
}

/// Buffers that a resize needs besides its output.
#[derive(Default)]
pub struct Scratch {
    across: Vec<Tap>,
    down: Vec<Tap>,
    line: Vec<f32>,
}

/// Resizes `rect` of a uint8 image to `height` x `width` and scales it to 0..1 (overshoot is not clipped); mirrored left
/// to right when `flip`. `out` is `[C, height, width]`.
///
/// # Panics
/// When the image has neither 1 nor 3 channels.
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
        1 => passes::<1, 1>(image, rect, scratch, out),
        3 => passes::<3, 4>(image, rect, scratch, out),
        other => panic!("an image has 1 or 3 channels, not {other}"),
    }
}

/// Down, then across, one output row at a time: the first pass runs over contiguous bytes and touches only the rows that
/// are wanted. The second reads `LANES` floats at each pixel though it has `C`: four are one vector instruction.
fn passes<const C: usize, const LANES: usize>(image: ImageRef<'_>, rect: Rect, scratch: &mut Scratch, out: &mut [f32]) {
    let Scratch { across, down, line } = scratch;
    let (length, width, plane) = (rect.width * C, across.len(), across.len() * down.len());
    line.clear();
    line.resize(length + LANES - C, 0.0);
    simclr_ops::cpu::vectorized(
        #[inline(always)]
        || {
            for (y, tap) in down.iter().enumerate() {
                let row =
                    |i: usize| &image.data[((rect.y + tap.at[i] as usize) * image.width + rect.x) * C..][..length];
                let weight = tap.weight.map(|w| w * (1.0 / 255.0));
                let sources = row(0).iter().zip(row(1)).zip(row(2)).zip(row(3));
                for (sum, (((&a, &b), &c), &d)) in line.iter_mut().zip(sources) {
                    *sum = f32::from(a) * weight[0]
                        + f32::from(b) * weight[1]
                        + f32::from(c) * weight[2]
                        + f32::from(d) * weight[3];
                }
                for (x, tap) in across.iter().enumerate() {
                    let mut sum = [0.0f32; LANES];
                    for (at, weight) in tap.at.iter().zip(tap.weight) {
                        let pixel = &line[*at as usize * C..][..LANES];
                        sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += weight * value);
                    }
                    for k in 0..C {
                        out[k * plane + y * width + x] = sum[k];
                    }
                }
            }
        },
    );
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
        for channels in [1, 3] {
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
