//! Sums of outer products over the pixels of tasks.

use super::super::layout::total;
use super::super::window::Task;
use crate::products::{self, Gradients, Run};
use crate::simd::{Element, LANES};
use crate::tensor::filled;
use rayon::prelude::*;

/// Fewest and most pixels of a task: L1 should hold a block of each.
const PIXELS: (usize, usize) = (64, 128);
/// Floats of a task's copies (1 MiB), which should stay in L2.
const TASK: usize = 1 << 18;
/// Sums (1 MiB) beyond which work is cut by weights, not by images.
const MANY: usize = 1 << 18;
/// Floats of copies (64 MiB) that are kept at a time where work is cut by weights.
const KEPT: usize = 1 << 24;
/// Most groups of images whose partial sums are added up in order.
const GROUPS: usize = 16;
/// Most channels, of the input and of the output, of a tile of sums (256 KiB), which L2 holds while tasks pass.
const TILE: usize = 256;
/// Most input channels of a block: with two vectors of output channels they fill the registers of AVX-512.
const ROWS: usize = 8;

/// Sums of outer products, one `[C, O]` for each of some pieces: the taps of a kernel.
pub trait Outer: Sync {
    /// Input and output channels, multiples of [`LANES`].
    fn channels(&self) -> (usize, usize);

    /// How many sums there are.
    fn pieces(&self) -> usize;

    /// Where the work may be cut.
    fn tasks(&self, pixels: usize) -> Vec<Task>;

    /// Floats of the copies of a task's windows and gradients.
    fn lengths(&self, task: &Task) -> (usize, usize);

    /// Writes the copies: windows `[C / LANES, ..., LANES]`, gradients `[O / width, pixels, width]` for each piece, of
    /// which some may be the same.
    fn copy(&self, task: &Task, windows: &mut [f32], gradients: &mut [f32]) -> Layout;
}

/// Where the copies of a task have what.
pub struct Layout {
    /// The windows of a block of input channels, [`LANES`] apart.
    pub runs: Vec<Run>,
    /// Floats from one block of input channels to the next.
    pub block: usize,
    /// First window and first gradient of each piece.
    pub starts: Vec<(usize, usize)>,
}

/// Output channels of a block.
pub fn width(o: usize) -> usize {
    if o.is_multiple_of(2 * LANES) { 2 * LANES } else { LANES }
}

/// The sums of all pieces, in tiles of some channels: `[pieces, O / TILE, C / TILE]` of `[tile's O / width, tile's C,
/// width]`.
pub struct Sums {
    pub c: usize,
    pub o: usize,
    pub data: Vec<f32>,
}

/// The channels of a tile of sums.
#[derive(Clone, Copy)]
struct Tile {
    piece: usize,
    c: (usize, usize),
    o: (usize, usize),
}

impl Sums {
    /// Where the sums of one input channel with the [`LANES`] output channels from `o` on begin.
    pub fn place(&self, piece: usize, c: usize, o: usize) -> usize {
        let (c0, o0, width) = (c / TILE * TILE, o / TILE * TILE, width(self.o));
        let (tile_c, tile_o) = ((self.c - c0).min(TILE), (self.o - o0).min(TILE));
        let tile = (piece * self.o + o0) * self.c + c0 * tile_o;
        tile + (((o - o0) / width) * tile_c + c - c0) * width + (o - o0) % width
    }

    /// The sums of all input channels with the [`LANES`] output channels from `o` on.
    pub fn rows(&self, piece: usize, o: usize) -> impl Iterator<Item = &[f32]> {
        let width = width(self.o);
        (0..self.c).step_by(TILE).flat_map(move |c| {
            let tile = &self.data[self.place(piece, c, o)..];
            (0..(self.c - c).min(TILE)).map(move |c| &tile[c * width..][..LANES])
        })
    }
}

/// The tiles of sums, in order.
fn tiles(pieces: usize, c: usize, o: usize) -> Vec<Tile> {
    let cut = |size: usize| (0..size).step_by(TILE).map(move |start| (start, (start + TILE).min(size)));
    (0..pieces).flat_map(|piece| cut(o).flat_map(move |o| cut(c).map(move |c| Tile { piece, c, o }))).collect()
}

/// The sums of each tile.
fn cut<'a>(tiles: &'a [Tile], mut rest: &'a mut [f32]) -> Vec<(&'a Tile, &'a mut [f32])> {
    let one = |tile: &'a Tile| {
        let size = (tile.c.1 - tile.c.0) * (tile.o.1 - tile.o.0);
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(size);
        rest = tail;
        (tile, head)
    };
    tiles.iter().map(one).collect()
}

/// What a task adds to the sums.
struct Copied<'a> {
    layout: &'a Layout,
    windows: &'a [f32],
    gradients: &'a [f32],
}

impl Copied<'_> {
    /// Adds the products of a tile's channels to its sums, or writes them.
    fn add(&self, tile: &Tile, width: usize, sum: &mut [f32], accumulate: bool) {
        let Self { layout, windows, gradients } = self;
        let (window, gradient) = layout.starts[tile.piece];
        let pixels = layout.runs.iter().map(|run| run.len).sum::<usize>();
        let vectors = width / LANES;
        // The channels of a vector of windows in blocks of nearly one size that registers hold.
        let cuts = LANES.div_ceil(products::most_weights(vectors).min(ROWS));
        let channels = sum.chunks_exact_mut((tile.c.1 - tile.c.0) * width);
        for (i, sum) in (tile.o.0 / width..).zip(channels) {
            let data = &gradients[gradient + i * pixels * width..][..pixels * width];
            let dy = Gradients { data, vectors, lanes: width };
            for (c, sum) in (tile.c.0 / LANES..).zip(sum.chunks_exact_mut(LANES * width)) {
                for cut in 0..cuts {
                    let (first, end) = (LANES * cut / cuts, LANES * (cut + 1) / cuts);
                    let windows = &windows[window + c * layout.block + first..];
                    let sum = (&mut sum[first * width..], width);
                    products::outer(windows, &layout.runs, LANES, end - first, dy, sum, accumulate);
                }
            }
        }
    }
}

/// Sums up over all tasks. How the work is cut depends on shapes alone.
pub fn sums(outer: &impl Outer) -> Sums {
    let (c, o) = outer.channels();
    let (pieces, width) = (outer.pieces(), width(o));
    let tasks = outer.tasks((TASK / (c + o)).clamp(PIXELS.0, PIXELS.1));
    let (tiles, size) = (tiles(pieces, c, o), pieces * c * o);
    if size <= MANY {
        let group = |tasks: &[Task]| {
            filled(size, |sum| {
                for (i, task) in tasks.iter().enumerate() {
                    let (first, second) = outer.lengths(task);
                    f32::with_scratch(first + second, |copies| {
                        let (windows, gradients) = copies.split_at_mut(first);
                        let layout = &outer.copy(task, windows, gradients);
                        let copied = Copied { layout, windows, gradients };
                        cut(&tiles, sum).into_iter().for_each(|(tile, sum)| copied.add(tile, width, sum, i > 0));
                    });
                }
            })
        };
        let groups = tasks.par_chunks(tasks.len().div_ceil(GROUPS)).map(group).collect();
        return Sums { c, o, data: total(groups, size) };
    }
    let length = |task: &Task| outer.lengths(task).0 + outer.lengths(task).1;
    let most = tasks.iter().map(length).max().unwrap_or(1);
    let keep = |task: &Task| {
        let (mut layout, first) = (None, outer.lengths(task).0);
        let copies = filled(length(task), |copies| {
            let (windows, gradients) = copies.split_at_mut(first);
            layout = Some(outer.copy(task, windows, gradients));
        });
        layout.map(|layout| (layout, copies, first))
    };
    let data = filled(size, |data| {
        for (round, tasks) in tasks.chunks((KEPT / most).max(1)).enumerate() {
            let kept: Vec<_> = tasks.par_iter().filter_map(keep).collect();
            cut(&tiles, data).into_par_iter().for_each(|(tile, sum)| {
                for (i, (layout, copies, first)) in kept.iter().enumerate() {
                    let (windows, gradients) = copies.split_at(*first);
                    Copied { layout, windows, gradients }.add(tile, width, sum, round + i > 0);
                }
            });
        }
    });
    Sums { c, o, data }
}
