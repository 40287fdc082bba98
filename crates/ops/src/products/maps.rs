//! The arithmetic of convolution, by how maps store their numbers.

use super::blocks::{self, Gradients};
use super::panels::{Panels, depth_blocks};
use super::runs::{Run, Segment};
use crate::simd::{Element, LANES};
use crate::tensor::filled;

/// Output channels from which the windows of a weight gradient are lined up.
const LINED_UP: usize = 64;
/// Windows of a weight gradient that L1 holds together with their gradients.
const NEAR: usize = 128;

/// Output pixels of a task, with the padded copy that their windows lie in.
#[derive(Clone, Copy)]
pub struct Pixels<'a, T> {
    pub padded: &'a [T],
    pub runs: &'a [Run],
    /// Between neighbouring windows of a run.
    pub step: usize,
}

impl<T> Pixels<'_, T> {
    pub fn count(&self) -> usize {
        self.runs.iter().map(|r| r.len).sum()
    }
}

/// Sums over windows and their gradient, for maps of this element. Weights and their gradients are f32.
pub trait Maps: Element {
    /// Weights laid out for [`Maps::products`].
    type Panels: Sync;
    /// A weight gradient that is being summed up.
    type Outer;

    /// Whether products are what takes the time, so that ways of having fewer of them pay.
    const SAVES_PRODUCTS: bool;

    /// Whether this processor multiplies these numbers; where it does not, maps are widened to f32.
    fn available() -> bool;

    /// Of weights `[O, depth]`.
    fn panels_of_columns(weight: &[f32], o: usize, depth: usize) -> Self::Panels;

    /// Of rows that hold all channels of one step of the depth.
    fn panels_of_rows<'a>(depth: usize, o: usize, row: impl Fn(usize) -> &'a [f32] + Sync) -> Self::Panels;

    /// `out[pixel] (+)= sum over segments and depth of window * weights`; neighbours of a run are `out.1` apart.
    fn products(
        pixels: Pixels<'_, Self>,
        segments: &[Segment],
        panels: &Self::Panels,
        out: (&mut [Self], usize),
        accumulate: bool,
    );

    /// The gradients `[pixels, O]` of a task, laid out for [`Maps::add_outer`].
    fn gradients(dy: &[Self], o: usize) -> Vec<Self>;

    /// A gradient of zeros for `depth` weights of each of `o` channels.
    fn outer(depth: usize, o: usize) -> Self::Outer;

    /// Adds `sum over pixels of window[segment] * dy` to the weights from `first` on.
    fn add_outer(sum: &mut Self::Outer, pixels: Pixels<'_, Self>, dy: &[Self], segment: Segment, first: usize);

    /// The gradient, `[depth, O]`.
    fn finished(sum: Self::Outer) -> Vec<f32>;
}

/// Vectors of channels in a block of the weight gradient.
fn gradient_vectors(o: usize) -> usize {
    if o > LANES { 2 } else { 1 }
}

/// A weight gradient in f32.
pub struct Outer {
    o: usize,
    /// `[depth, O]`.
    sum: Vec<f32>,
    /// Windows that are lined up.
    columns: Vec<f32>,
}

impl Maps for f32 {
    type Panels = Panels;
    type Outer = Outer;
    const SAVES_PRODUCTS: bool = true;

    fn available() -> bool {
        true
    }

    fn panels_of_columns(weight: &[f32], o: usize, _: usize) -> Panels {
        Panels::transposed(weight, o)
    }

    fn panels_of_rows<'a>(depth: usize, o: usize, row: impl Fn(usize) -> &'a [f32] + Sync) -> Panels {
        Panels::of_rows(depth, o, row)
    }

    fn products(
        pixels: Pixels<'_, f32>,
        segments: &[Segment],
        panels: &Panels,
        (out, step): (&mut [f32], usize),
        accumulate: bool,
    ) {
        for (block, (segments, range)) in depth_blocks(segments).iter().enumerate() {
            for channel in panels.firsts() {
                let (panel, add) = (panels.part(channel, *range), accumulate || block > 0);
                let steps = (pixels.step, step);
                blocks::products(pixels.padded, pixels.runs, steps, segments, panel, &mut out[channel..], add);
            }
        }
    }

    /// Channels in blocks, each `[pixels, block]`, zero past the last channel.
    fn gradients(dy: &[f32], o: usize) -> Vec<f32> {
        let (width, pixels) = (gradient_vectors(o) * LANES, dy.len() / o);
        filled(o.div_ceil(width) * width * pixels, |blocks| {
            let runs = [Run { source: 0, out: 0, len: pixels }];
            for (i, block) in blocks.chunks_exact_mut(width * pixels).enumerate() {
                for lane in (0..width).step_by(LANES) {
                    let first = (i * width + lane).min(o);
                    blocks::line_up(&dy[first..], &runs, o, LANES.min(o - first), &mut block[lane..], width);
                }
            }
        })
    }

    fn outer(depth: usize, o: usize) -> Outer {
        Outer { o, sum: vec![0.0; depth * o], columns: Vec::new() }
    }

    fn add_outer(outer: &mut Outer, pixels: Pixels<'_, f32>, dy: &[f32], segment: Segment, first: usize) {
        let Outer { o, sum, columns } = outer;
        let (o, vectors, count) = (*o, gradient_vectors(*o), pixels.count());
        let (width, depth) = (vectors * LANES, segment.depth);
        let blocks = depth.div_ceil(blocks::most_weights(vectors));
        columns.resize(count * LANES, 0.0);
        for i in 0..blocks {
            let (start, end) = (depth * i / blocks, depth * (i + 1) / blocks);
            let (from, depth) = (&pixels.padded[segment.offset + start..], end - start);
            let mut block = |from: &[f32], runs: &[Run], step: usize, pixel: usize| {
                for (i, block) in dy.chunks_exact(width * count).enumerate() {
                    let dy = Gradients { data: &block[pixel * width..], vectors, lanes: width.min(o - i * width) };
                    let sum = &mut sum[(first + start) * o + i * width..];
                    blocks::outer(from, runs, step, depth, dy, (sum, o), true);
                }
            };
            if o < LINED_UP {
                block(from, pixels.runs, pixels.step, 0);
                continue;
            }
            // Windows stand a multiple of many bytes apart, so that few sets of the cache would hold them: they are lined
            // up where enough channels use them, and some of them at a time stay in L1 with their gradients.
            blocks::line_up(from, pixels.runs, pixels.step, depth, columns, LANES);
            for pixel in (0..count).step_by(NEAR) {
                let run = Run { source: pixel * LANES, out: 0, len: NEAR.min(count - pixel) };
                block(columns, &[run], LANES, pixel);
            }
        }
    }

    fn finished(sum: Outer) -> Vec<f32> {
        sum.sum
    }
}
