//! The arithmetic of convolution for bf16 maps: windows are lined up as rows of a matrix, and products are summed in f32.
//!
//! Unlike the f32 kernels these do not read windows where they stand: a unit that multiplies tiles is so fast that lining
//! windows up costs less than tiles of odd shapes would.

use super::maps::{Maps, Pixels};
use super::runs::Segment;
use crate::simd::amx::{self, Block, Pairs, Ready, SIDE};
use crate::simd::{self, Element, Kernel, LANES, Wide, wide};
use crate::tensor::filled;
use half::bf16;
use rayon::prelude::*;

/// Numbers of a matrix of windows (1 MiB): it stays in L2 while all weights pass.
const MATRIX: usize = 1 << 19;
/// Numbers between rows of that matrix beyond their length: rows a power of two apart would share sets of the cache.
const GAP: usize = SIDE;

const ZERO: bf16 = bf16::ZERO;

fn whole(length: usize) -> usize {
    length.div_ceil(SIDE) * SIDE
}

/// Weights as pairs, [`SIDE`] channels by [`SIDE`] steps of the depth at a time, zero beyond both.
pub struct Panels {
    depth: usize,
    channels: usize,
    data: Vec<bf16>,
}

impl Panels {
    const PAIRS: Pairs = Pairs { row: 2 * LANES, next: SIDE * SIDE, second: SIDE * LANES };

    /// `fill(first, panel)` writes the panel of the channels from `first` on; it starts as zeros.
    fn new(depth: usize, channels: usize, fill: impl Fn(usize, &mut [bf16]) + Sync) -> Self {
        let size = whole(depth) * SIDE;
        let mut data = vec![ZERO; channels.div_ceil(SIDE) * size];
        data.par_chunks_mut(size).enumerate().for_each(|(i, panel)| fill(i * SIDE, panel));
        Self { depth, channels, data }
    }

    /// Where the pair of steps `d`, `d + 1` of a channel stands in its panel, `d` being even.
    fn place(d: usize, channel: usize) -> usize {
        (d / SIDE * 2 + channel / LANES) * SIDE * LANES + d % SIDE * LANES + channel % LANES * 2
    }
}

/// A weight gradient in f32, `[whole O, width]`.
pub struct Outer {
    depth: usize,
    o: usize,
    width: usize,
    sum: Vec<f32>,
}

/// Copies the windows from the `skip`th on, one a row of `matrix`, zero past their depth; rows beyond the last window stay.
fn line_up(
    pixels: Pixels<'_, bf16>,
    segments: &[Segment],
    depth: usize,
    skip: usize,
    matrix: &mut [bf16],
    step: usize,
) {
    let windows = pixels.runs.iter().flat_map(|run| (0..run.len).map(move |i| run.source + i * pixels.step));
    for (window, row) in windows.skip(skip).zip(matrix.chunks_exact_mut(step)) {
        let mut done = 0;
        for segment in segments {
            amx::copy(&pixels.padded[window + segment.offset..][..segment.depth], &mut row[done..]);
            done += segment.depth;
        }
        row[done..whole(depth)].fill(ZERO);
    }
}

impl Maps for bf16 {
    type Panels = Panels;
    type Outer = Outer;
    // Its tiles multiply sixteen times faster than they are brought together.
    const SAVES_PRODUCTS: bool = false;

    fn available() -> bool {
        amx::unit().is_some()
    }

    fn panels_of_columns(weight: &[f32], o: usize, depth: usize) -> Panels {
        Panels::new(depth, o, |first, panel| {
            for (channel, row) in weight[first * depth..].chunks_exact(depth).take(SIDE).enumerate() {
                for (i, two) in row.chunks(2).enumerate() {
                    let place = Panels::place(2 * i, channel);
                    two.iter().zip(&mut panel[place..]).for_each(|(w, p)| *p = bf16::from_f32(*w));
                }
            }
        })
    }

    fn panels_of_rows<'a>(depth: usize, o: usize, row: impl Fn(usize) -> &'a [f32] + Sync) -> Panels {
        Panels::new(depth, o, |first, panel| {
            let live = SIDE.min(o - first);
            let (mut a, mut b) = ([ZERO; SIDE], [ZERO; SIDE]);
            for d in (0..depth).step_by(2) {
                let narrow = |row: &[f32], to: &mut [bf16; SIDE]| {
                    to.iter_mut().zip(&row[first..first + live]).for_each(|(t, w)| *t = bf16::from_f32(*w));
                };
                narrow(row(d), &mut a);
                match d + 1 < depth {
                    true => narrow(row(d + 1), &mut b),
                    false => b = [ZERO; SIDE],
                }
                let mut pairs = [ZERO; 2 * SIDE];
                amx::interleave(&a, &b, &mut pairs);
                for (half, pairs) in pairs.chunks_exact(SIDE).enumerate() {
                    panel[Panels::place(d, half * LANES)..][..SIDE].copy_from_slice(pairs);
                }
            }
        })
    }

    fn products(
        pixels: Pixels<'_, bf16>,
        segments: &[Segment],
        panels: &Panels,
        (out, out_step): (&mut [bf16], usize),
        accumulate: bool,
    ) {
        let ready = Ready::new();
        let places: Vec<usize> =
            pixels.runs.iter().flat_map(|run| (0..run.len).map(move |i| run.out + i * out_step)).collect();
        let (depth, step) = (panels.depth, whole(panels.depth) + GAP);
        let rows = (MATRIX / step / SIDE * SIDE).clamp(SIDE, whole(places.len()));
        let mut sum = [0.0; SIDE * SIDE];
        bf16::with_scratch(rows * step, |matrix| {
            for (skip, places) in places.chunks(rows).enumerate() {
                line_up(pixels, segments, depth, skip * rows, matrix, step);
                for (i, panel) in panels.data.chunks_exact(whole(depth) * SIDE).enumerate() {
                    let lanes = SIDE.min(panels.channels - i * SIDE);
                    for (left, places) in matrix.chunks_exact(SIDE * step).zip(places.chunks(SIDE)) {
                        let block =
                            Block { left, step, right: panel, pairs: Panels::PAIRS, turns: whole(depth) / SIDE };
                        ready.multiply(block, &mut sum, SIDE, false);
                        wide(StoreRows { sum: &sum, places, lanes, out: &mut out[i * SIDE..], accumulate });
                    }
                }
            }
        });
    }

    /// Transposed: `[whole O, whole pixels]`, zero beyond both.
    fn gradients(dy: &[bf16], o: usize) -> Vec<bf16> {
        let pixels = dy.len() / o;
        let step = whole(pixels);
        filled(whole(o) * step, |out| {
            for (i, rows) in out.chunks_exact_mut(SIDE * step).enumerate() {
                let live = SIDE.min(o - i * SIDE);
                for p in (0..step).step_by(SIDE) {
                    let from = &dy[(p * o + i * SIDE).min(dy.len())..];
                    amx::transpose(from, o, (SIDE.min(pixels - p), live), &mut rows[p..], step);
                }
            }
        })
    }

    fn outer(depth: usize, o: usize) -> Outer {
        // The last tile of a segment reaches past it, with zeros.
        let width = whole(depth) + SIDE;
        Outer { depth, o, width, sum: vec![0.0; whole(o) * width] }
    }

    fn add_outer(outer: &mut Outer, pixels: Pixels<'_, bf16>, dy: &[bf16], segment: Segment, first: usize) {
        let (count, depth) = (pixels.count(), whole(segment.depth));
        let step = whole(count);
        let windows: Vec<&[bf16]> = pixels
            .runs
            .iter()
            .flat_map(|run| (0..run.len).map(move |i| run.source + i * pixels.step + segment.offset))
            .map(|at| &pixels.padded[at..at + segment.depth])
            .collect();
        let ready = Ready::new();
        bf16::with_scratch(step * depth, |matrix| {
            // Windows of neighbouring pixels as pairs, zero past the last pixel and the last weight.
            let empty = vec![ZERO; segment.depth];
            for (i, row) in matrix.chunks_exact_mut(2 * depth).enumerate() {
                let window = |p: usize| windows.get(p).copied().unwrap_or(&empty);
                amx::interleave(window(2 * i), window(2 * i + 1), &mut row[..2 * segment.depth]);
                row[2 * segment.depth..].fill(ZERO);
            }
            let pairs = Pairs { row: 2 * depth, next: LANES * 2 * depth, second: SIDE };
            for (o, left) in dy.chunks_exact(SIDE * step).enumerate() {
                for j in (0..depth).step_by(SIDE) {
                    let block = Block { left, step, right: &matrix[2 * j..], pairs, turns: step / SIDE };
                    let sum = &mut outer.sum[o * SIDE * outer.width + first + j..];
                    ready.multiply(block, sum, outer.width, true);
                }
            }
        });
    }

    fn finished(outer: Outer) -> Vec<f32> {
        let mut out = vec![0.0; outer.depth * outer.o];
        for (d, row) in out.chunks_exact_mut(outer.o).enumerate() {
            row.iter_mut().enumerate().for_each(|(o, v)| *v = outer.sum[o * outer.width + d]);
        }
        out
    }
}

/// Rows of sums, rounded into the output at their places.
struct StoreRows<'a> {
    sum: &'a [f32; SIDE * SIDE],
    places: &'a [usize],
    lanes: usize,
    out: &'a mut [bf16],
    accumulate: bool,
}

impl Kernel for StoreRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        for (row, place) in self.sum.chunks_exact(SIDE).zip(self.places) {
            let out = &mut self.out[*place..][..self.lanes];
            simd::update::<S, bf16, 0>(
                [],
                out,
                SIDE,
                #[inline(always)]
                |column, old, []| {
                    let sum = simd::at::<S>(row, column);
                    if self.accumulate { sum.plus(old) } else { sum }
                },
            );
        }
    }
}
