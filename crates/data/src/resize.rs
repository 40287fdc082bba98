//! Bicubic resizing of a rectangle, as TensorFlow's `ResizeBicubic` with half-pixel centres does it.
//!
//! a = -0.5, no antialiasing; the fraction is rounded to a table of 1024 steps; weights that fall outside the rectangle
//! are dropped and the rest renormalised. Output is planar, `[C, S, S]`.

use crate::crop::Rect;
use crate::dataset::ImageRef;

const TABLE: f32 = 1024.0;
const A: f32 = -0.5;

/// The four source positions and weights of one output position.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tap {
    at: [u32; 4],
    weight: [f32; 4],
}

/// Weights along one axis, from `from` positions to `to`.
pub fn taps(from: usize, to: usize, out: &mut Vec<Tap>) {
    let scale = from as f32 / to as f32;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    out.clear();
    out.extend((0..to).map(|i| {
        let position = (i as f32 + 0.5) * scale - 0.5;
        let base = position.floor();
        let fraction = ((position - base) * TABLE).round_ties_even() / TABLE;
        let weights = [far(fraction + 1.0), near(fraction), near(1.0 - fraction), far(2.0 - fraction)];
        let mut tap = Tap::default();
        let mut sum = 0.0;
        for (k, weight) in weights.into_iter().enumerate() {
            let at = base as i64 + k as i64 - 1;
            let inside = (0..from as i64).contains(&at);
            tap.at[k] = at.clamp(0, from as i64 - 1) as u32;
            tap.weight[k] = if inside { weight } else { 0.0 };
            sum += tap.weight[k];
        }
        tap.weight.iter_mut().for_each(|w| *w /= sum);
        tap
    }));
}

/// Buffers that a resize needs besides its output.
#[derive(Default)]
pub struct Scratch {
    across: Vec<Tap>,
    down: Vec<Tap>,
    rows: Vec<f32>,
}

/// Resizes `rect` of a uint8 image to `height` x `width` and scales it to 0..1 (overshoot is not clipped); mirrored left
/// to right when `flip`. `out` is `[C, height, width]`.
pub fn bicubic(
    image: ImageRef<'_>,
    rect: Rect,
    (height, width): (usize, usize),
    flip: bool,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let c = image.channels;
    taps(rect.width, width, &mut scratch.across);
    taps(rect.height, height, &mut scratch.down);
    if flip {
        scratch.across.reverse();
    }
    scratch.rows.resize(rect.height * width * c, 0.0);
    let Scratch { across, down, rows } = scratch;
    simclr_ops::cpu::vectorized(
        #[inline(always)]
        || {
            // Across: each source row to planar rows, `[C, rect.height, width]`.
            for y in 0..rect.height {
                let line = &image.data[((rect.y + y) * image.width + rect.x) * c..][..rect.width * c];
                for (x, tap) in across.iter().enumerate() {
                    let at = tap.at.map(|a| a as usize * c);
                    for k in 0..c {
                        let pixel = |i: usize| f32::from(line[at[i] + k]);
                        let sum = pixel(0) * tap.weight[0]
                            + pixel(1) * tap.weight[1]
                            + pixel(2) * tap.weight[2]
                            + pixel(3) * tap.weight[3];
                        rows[(k * rect.height + y) * width + x] = sum * (1.0 / 255.0);
                    }
                }
            }
            // Down: whole rows at once.
            for (plane, out) in rows.chunks_exact(rect.height * width).zip(out.chunks_exact_mut(height * width)) {
                for (tap, out) in down.iter().zip(out.chunks_exact_mut(width)) {
                    let row = |i: usize| &plane[tap.at[i] as usize * width..][..width];
                    let sources = row(0).iter().zip(row(1)).zip(row(2)).zip(row(3));
                    for (out, (((a, b), c), d)) in out.iter_mut().zip(sources) {
                        *out = a * tap.weight[0] + b * tap.weight[1] + c * tap.weight[2] + d * tap.weight[3];
                    }
                }
            }
        },
    );
}
