//! Convolution: forward, gradient of the input, gradient of the weights.
//!
//! With AVX-512 all three are sums over windows (see [`super::window`]); other processors unfold patches and multiply
//! matrices (see [`super::im2col`]). How work is cut depends on shapes alone, never on the number of threads: sums are
//! taken in the same order always.

use super::avx512;
use super::wide::LANES;
use super::norm::Part;
use super::panels::{Panels, depth_blocks};
use super::window::{Run, Segment, Source, Task, Windows};
use super::{filled, im2col, norm};
use rayon::prelude::*;

/// Weights (1 MiB) beyond which their gradient is cut by weights, not by images.
const MANY: usize = 1 << 18;
/// Output channels from which the windows of a weight gradient are lined up.
const LINED_UP: usize = 64;
/// Floats of a page of memory.
const PAGE: usize = 1024;
/// Windows of a weight gradient that L1 holds together with their gradients.
const NEAR: usize = 128;
/// Most groups of images whose partial sums are added up in order.
const GROUPS: usize = 16;

/// The geometry of one convolution; letters as in the crate's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub o: usize,
    pub k: usize,
    pub stride: usize,
    /// Zero rows above and columns to the left.
    pub before: usize,
    /// Output height and width.
    pub oh: usize,
    pub ow: usize,
}

impl Geometry {
    /// Floats of a window.
    pub fn patch(&self) -> usize {
        self.k * self.k * self.c
    }

    /// Output pixels.
    pub fn pixels(&self) -> usize {
        self.n * self.oh * self.ow
    }

    fn windows(&self) -> Windows {
        let Self { n, h, w, c, k, stride, before, oh, ow, .. } = *self;
        let before = before as isize;
        Windows { n, h, w, c, ky: k, kx: k, stride, top: before, left: before, rows: oh, cols: ow }
    }
}

/// Where output pixels stand, in floats.
#[derive(Clone, Copy)]
struct Places {
    first: usize,
    col: usize,
    row: usize,
    image: usize,
}

/// The sums over windows of all images, in `out`; what `out` holds is added to where `accumulate`. With `moments` each
/// task takes the moments of its output while that is in cache.
fn sums(
    windows: &Windows,
    source: Source<'_>,
    panels: &Panels,
    places: Places,
    out: &mut [f32],
    (accumulate, moments): (bool, bool),
) -> Vec<Part> {
    let blocks = depth_blocks(&windows.segments(source));
    // Tasks whose output is contiguous are independent; else those of an image go together.
    let contiguous = places.col * windows.cols == places.row;
    let mut items: Vec<(Vec<Task>, &mut [f32])> = Vec::new();
    let mut rest = out;
    for task in windows.tasks() {
        match items.last_mut() {
            Some((tasks, _)) if !contiguous && tasks[0].image == task.image => tasks.push(task),
            _ => {
                let length = if contiguous { task.images * task.rows * places.row } else { task.images * places.image };
                let (head, tail) = std::mem::take(&mut rest).split_at_mut(length);
                items.push((vec![task], head));
                rest = tail;
            }
        }
    }
    let steps = (windows.stride * windows.c, places.col);
    let each = |(tasks, out): (Vec<Task>, &mut [f32])| {
        for task in &tasks {
            let first = if contiguous { 0 } else { task.row * places.row };
            let place = |image, row| places.first + image * places.image + first + row * places.row;
            windows.with_padded(source, *task, place, |padded, runs| {
                for (block, (segments, range)) in blocks.iter().enumerate() {
                    for channel in panels.firsts() {
                        let (panel, add) = (panels.part(channel, *range), accumulate || block > 0);
                        avx512::products(padded, runs, steps, segments, panel, &mut out[channel..], add);
                    }
                }
            });
        }
        moments.then(|| norm::part(out, panels.channels))
    };
    let parts: Vec<Option<Part>> = items.into_par_iter().map(each).collect();
    parts.into_iter().flatten().collect()
}

/// `[N, H, W, C]` by weights `[O, K, K, C]` to `[N, OH, OW, O]`, and the moments of its parts where they are wanted.
pub fn forward(g: &Geometry, source: Source<'_>, weight: &[f32], moments: bool) -> (Vec<f32>, Vec<Part>) {
    if !avx512::available() {
        let out = match source.affine {
            Some(affine) => im2col::forward(g, &affine.forward(source.map, None, true), weight),
            None => im2col::forward(g, source.map, weight),
        };
        let parts = if moments { norm::parts(&out, g.o) } else { Vec::new() };
        return (out, parts);
    }
    let (panels, mut parts) = (Panels::transposed(weight, g.o), Vec::new());
    let windows = g.windows().flattened();
    let row = windows.cols * g.o;
    let places = Places { first: 0, col: g.o, row, image: windows.rows * row };
    let out = filled(g.pixels() * g.o, |out| parts = sums(&windows, source, &panels, places, out, (false, moments)));
    (out, parts)
}

/// Gradient of the input, `[N, H, W, C]`, from that of the output, `[N, OH, OW, O]`; added to `sum` where there is one.
pub fn input_gradient(g: &Geometry, dy: &[f32], weight: &[f32], sum: Option<&mut [f32]>) -> Option<Vec<f32>> {
    if !avx512::available() {
        let dx = im2col::input_gradient(g, dy, weight);
        return match sum {
            None => Some(dx),
            Some(sum) => {
                sum.par_iter_mut().zip(dx).with_min_len(4096).for_each(|(s, d)| *s += d);
                None
            }
        };
    }
    match sum {
        Some(sum) => {
            add_input_gradient(g, dy, weight, sum, true);
            None
        }
        None => Some(filled(g.n * g.h * g.w * g.c, |dx| add_input_gradient(g, dy, weight, dx, false))),
    }
}

fn add_input_gradient(g: &Geometry, dy: &[f32], weight: &[f32], dx: &mut [f32], accumulate: bool) {
    if g.k < g.stride && !accumulate {
        // Pixels between the windows feel nothing.
        dx.par_chunks_mut(1 << 15).for_each(|dx| dx.fill(0.0));
    }
    // Along one axis: input position `s i + p` meets kernel positions `r, r + s, ...`, the last of them first.
    let axis = |p: usize, size: usize| {
        let (r, q) = ((p + g.before) % g.stride, (p + g.before) / g.stride);
        let taps = if r < g.k { (g.k - 1 - r) / g.stride + 1 } else { 0 };
        (r, taps, taps as isize - 1 - q as isize, size.saturating_sub(p).div_ceil(g.stride))
    };
    for (py, px) in (0..g.stride).flat_map(|y| (0..g.stride).map(move |x| (y, x))) {
        let ((ry, ky, top, rows), (rx, kx, left, cols)) = (axis(py, g.h), axis(px, g.w));
        if ky * kx * rows * cols == 0 {
            continue;
        }
        let panels = Panels::of_rows(ky * kx * g.o, g.c, |d| {
            let (u, v, o) = (d / (kx * g.o), d / g.o % kx, d % g.o);
            let (y, x) = (ry + g.stride * (ky - 1 - u), rx + g.stride * (kx - 1 - v));
            &weight[((o * g.k + y) * g.k + x) * g.c..][..g.c]
        });
        let windows = Windows { n: g.n, h: g.oh, w: g.ow, c: g.o, ky, kx, stride: 1, top, left, rows, cols };
        let windows = if g.stride == 1 { windows.flattened() } else { windows };
        let row = g.stride * g.w * g.c;
        let mut places =
            Places { first: (py * g.w + px) * g.c, col: g.stride * g.c, row, image: g.h * g.w * g.c };
        if g.stride == 1 {
            (places.row, places.image) = (windows.cols * g.c, windows.rows * windows.cols * g.c);
        }
        let source = Source { map: dy, affine: None };
        sums(&windows, source, &panels, places, dx, (accumulate, false));
    }
}

/// Vectors of channels in a block of the weight gradient.
fn gradient_vectors(o: usize) -> usize {
    if o > LANES { 2 } else { 1 }
}

/// The channels of `dy` `[pixels, O]` in blocks, each `[pixels, block]`, zero past the last channel.
fn channel_blocks(dy: &[f32], o: usize) -> Vec<f32> {
    let (width, pixels) = (gradient_vectors(o) * LANES, dy.len() / o);
    filled(o.div_ceil(width) * width * pixels, |blocks| {
        let runs = [Run { source: 0, out: 0, len: pixels }];
        for (i, block) in blocks.chunks_exact_mut(width * pixels).enumerate() {
            for lane in (0..width).step_by(LANES) {
                let first = (i * width + lane).min(o);
                avx512::line_up(&dy[first..], &runs, o, LANES.min(o - first), &mut block[lane..], width);
            }
        }
    })
}

/// What the weight gradient reads of one task.
struct Piece<'a> {
    padded: &'a [f32],
    runs: &'a [Run],
    step: usize,
    /// `dy` by [`channel_blocks`].
    blocks: &'a [f32],
}

/// Adds what one task gives for the `depth` weights from `offset` of each window on to `sum`, `[depth, O]`.
fn add_outer(piece: &Piece<'_>, (offset, depth): (usize, usize), o: usize, sum: &mut [f32], columns: &mut Vec<f32>) {
    let vectors = gradient_vectors(o);
    let (width, pixels) = (vectors * LANES, piece.runs.iter().map(|r| r.len).sum::<usize>());
    let count = depth.div_ceil(avx512::MOST_WEIGHTS[vectors]);
    columns.resize(pixels * LANES, 0.0);
    for i in 0..count {
        let (first, end) = (depth * i / count, depth * (i + 1) / count);
        let (from, depth) = (&piece.padded[offset + first..], end - first);
        let mut block = |from: &[f32], runs: &[Run], step: usize, pixel: usize| {
            for (i, block) in piece.blocks.chunks_exact(width * pixels).enumerate() {
                let block = (&block[pixel * width..], vectors, width.min(o - i * width));
                avx512::outer(from, runs, step, depth, block, &mut sum[first * o + i * width..], o);
            }
        };
        if o < LINED_UP {
            block(from, piece.runs, piece.step, 0);
            continue;
        }
        // Windows stand a multiple of many bytes apart, so that few sets of the cache would hold them: they are lined up
        // where enough channels use them, and some of them at a time stay in L1 with their `dy`.
        avx512::line_up(from, piece.runs, piece.step, depth, columns, LANES);
        for pixel in (0..pixels).step_by(NEAR) {
            let run = Run { source: pixel * LANES, out: 0, len: NEAR.min(pixels - pixel) };
            block(columns, &[run], LANES, pixel);
        }
    }
}

/// Gradient of the weights, `[O, K, K, C]`.
pub fn weight_gradient(g: &Geometry, source: Source<'_>, dy: &[f32]) -> Vec<f32> {
    if !avx512::available() {
        return match source.affine {
            Some(affine) => im2col::weight_gradient(g, &affine.forward(source.map, None, true), dy),
            None => im2col::weight_gradient(g, source.map, dy),
        };
    }
    let windows = g.windows().flattened();
    let (tasks, segments, size) = (windows.tasks(), windows.segments(source), g.o * g.patch());
    let (step, o) = (windows.stride * windows.c, g.o);
    let dy_of = |task: &Task| {
        let first = (task.image * windows.rows + task.row) * windows.cols * o;
        &dy[first..first + task.images * task.rows * windows.cols * o]
    };
    if size > MANY {
        return by_weights(&windows, source, (&tasks, &segments), (step, o), dy_of);
    }
    let each = tasks.len().div_ceil(GROUPS);
    let group = |tasks: &[Task]| {
        let (mut sum, mut columns) = (vec![0.0; size], Vec::new());
        for task in tasks {
            windows.with_padded(source, *task, |_, _| 0, |padded, runs| {
                let piece = Piece { padded, runs, step, blocks: &channel_blocks(dy_of(task), o) };
                let mut done = 0;
                for segment in &segments {
                    add_outer(&piece, (segment.offset, segment.depth), o, &mut sum[done * o..], &mut columns);
                    done += segment.depth;
                }
            });
        }
        sum
    };
    let partials: Vec<Vec<f32>> = tasks.par_chunks(each).map(group).collect();
    transposed(&im2col::total(partials, size), o)
}

/// The weight gradient where the weights are many: each piece of work takes some of them through all images.
fn by_weights<'a>(
    windows: &Windows,
    source: Source<'_>,
    (tasks, segments): (&[Task], &[Segment]),
    (step, o): (usize, usize),
    dy_of: impl Fn(&Task) -> &'a [f32] + Sync,
) -> Vec<f32> {
    let prepared: Vec<(Vec<f32>, Vec<Run>, Vec<f32>)> = tasks
        .par_iter()
        .map(|task| {
            let blocks = channel_blocks(dy_of(task), o);
            windows.with_padded(source, *task, |_, _| 0, |padded, runs| (padded.to_vec(), runs.to_vec(), blocks))
        })
        .collect();
    let most = windows.depth().div_ceil(GROUPS).clamp(48, 192);
    let cut = |s: &Segment| {
        let (offset, depth, count) = (s.offset, s.depth, s.depth.div_ceil(most));
        (0..count).map(move |i| (offset + depth * i / count, depth * (i + 1) / count - depth * i / count))
    };
    let pieces: Vec<(usize, usize)> = segments.iter().flat_map(cut).collect();
    let one = |&(offset, depth): &(usize, usize)| {
        let (mut sum, mut columns, mut near) = (vec![0.0; depth * o], Vec::new(), Vec::new());
        for (padded, runs, blocks) in &prepared {
            if step < PAGE {
                let piece = Piece { padded, runs, step, blocks };
                add_outer(&piece, (offset, depth), o, &mut sum, &mut columns);
                continue;
            }
            // These weights' part of all windows is brought together first: windows that lie pages apart cost a walk
            // through the page tables each.
            near.clear();
            for run in runs {
                let window = |i| &padded[run.source + i * step + offset..][..depth];
                (0..run.len).for_each(|i| near.extend_from_slice(window(i)));
            }
            let whole = [Run { source: 0, out: 0, len: near.len() / depth }];
            let piece = Piece { padded: &near, runs: &whole, step: depth, blocks };
            add_outer(&piece, (0, depth), o, &mut sum, &mut columns);
        }
        sum
    };
    let sums: Vec<Vec<f32>> = pieces.par_iter().map(one).collect();
    transposed(&sums.concat(), o)
}

/// `[depth, O]` to `[O, depth]`.
fn transposed(sum: &[f32], o: usize) -> Vec<f32> {
    let depth = sum.len() / o;
    filled(sum.len(), |out| {
        out.par_chunks_mut(LANES * depth).enumerate().for_each(|(i, out)| {
            for (d, row) in sum.chunks_exact(o).enumerate() {
                out.iter_mut().skip(d).step_by(depth).zip(&row[i * LANES..]).for_each(|(out, s)| *out = *s);
            }
        });
    })
}
