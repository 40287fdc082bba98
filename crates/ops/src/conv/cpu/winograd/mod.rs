//! Convolution with 3x3 kernels at stride 1 by 4/9 of the products: Winograd's F(2x2, 3x3).
//!
//! A tile of 2x2 output pixels and the 4x4 window that it sees become sixteen numbers each, one in every *plane*, and
//! there the convolution is a product: `y = A^T [(G g G^T) (B^T d B)] A` (Lavin and Gray 2016, section 4.1). Over all
//! tiles and channels each plane is a product of matrices. The coefficients are 0, 1 and 1/2, so next to nothing is lost
//! to rounding; tiles of 4x4 would save more products and lose digits. The gradients are the adjoints of the same maps.

mod transform;

use super::layout::transposed;
use super::outer::{self, Layout, Outer};
use super::window::{Source, Task, Windows};
use crate::conv::geometry::Geometry;
use crate::norm::cpu::{self as norm, Part};
use crate::products::{self, Panels, Run, Segment};
use crate::simd::{Element, LANES, wide};
use crate::tensor::filled;
use rayon::prelude::*;
use transform::{Grid, PLANES, Spread, Taps, TapsBack, Windowed, Written};

/// Floats of the planes of a task (1 MiB), which should stay in L2.
const TASK: usize = 1 << 18;
/// Fewest and most tiles of a task: all weights pass once a task.
const TILES: (usize, usize) = (64, 256);
/// Whether this is the way of a convolution. It does not depend on the number of images.
pub fn serves(g: &Geometry) -> bool {
    g.k == 3 && g.stride == 1 && g.before <= 2 && g.oh.min(g.ow) >= 2 && outer::serves(g)
}

/// Floats that hold `channels` of `tiles` tiles in every plane, and those from one plane to the next: planes a power of
/// two apart would share sets of the cache.
fn planes(tiles: usize, channels: usize) -> (usize, usize) {
    let plane = tiles * channels + LANES;
    (PLANES * plane, plane)
}

/// The tiles of the output, `[N, OH, OW]`, of a sum over windows of `[N, H, W, C]`.
struct Tiles {
    /// One a tile: 4x4 at stride 2.
    windows: Windows,
    oh: usize,
    ow: usize,
}

impl Tiles {
    /// With `before` rows and columns of zeros.
    fn new((n, h, w, c): (usize, usize, usize, usize), (oh, ow): (usize, usize), before: usize) -> Self {
        let (rows, cols, before) = (oh.div_ceil(2), ow.div_ceil(2), before as isize);
        let windows = Windows { n, h, w, c, ky: 4, kx: 4, stride: 2, top: before, left: before, rows, cols };
        Self { windows, oh, ow }
    }

    fn of_output(g: &Geometry) -> Self {
        Self::new((g.n, g.h, g.w, g.c), (g.oh, g.ow), g.before)
    }

    fn of_input(g: &Geometry) -> Self {
        Self::new((g.n, g.oh, g.ow, g.o), (g.h, g.w), 2 - g.before)
    }

    /// The output pixels of a task.
    fn grid(&self, task: &Task) -> Grid {
        let rows = (2 * (task.row + task.rows)).min(self.oh) - 2 * task.row;
        Grid { images: task.images, rows, cols: self.ow }
    }

    /// First output pixel of a task.
    fn first(&self, task: &Task) -> usize {
        (task.image * self.oh + 2 * task.row) * self.ow
    }

    /// Writes the planes `[C / LANES, tiles, LANES]` of a task's windows.
    fn window_planes<T: Element>(&self, source: Source<'_, T>, task: &Task, out: &mut [f32]) {
        let c = self.windows.c;
        let row = self.windows.segments(source)[1].offset;
        self.windows.with_padded(
            source,
            *task,
            |_, _| 0,
            |padded, runs| {
                let (_, plane) = planes(self.grid(task).tiles(), c);
                wide(Windowed { padded, runs, row, c, plane, out });
            },
        );
    }
}

/// `[N, H, W, C]` by weights `[O, 3, 3, C]` to `[N, OH, OW, O]`, and the moments of its parts where they are wanted.
pub fn forward<T: Element>(g: &Geometry, source: Source<'_, T>, weight: &[f32], moments: bool) -> (Vec<T>, Vec<Part>) {
    let (c, plain) = (g.c, Panels::transposed(weight, g.o));
    let panels = Panels::new(PLANES * c, g.o, |first, panel| {
        let plain = plain.part(first, (0, 9 * c)).weights;
        let width = plain.len() / (9 * c);
        wide(Taps { weight: plain, tap: c * width, channel: width, lanes: width, turned: false, planes: panel, width });
    });
    let mut parts = Vec::new();
    let out = filled(g.pixels() * g.o, |out| {
        parts = sums(&Tiles::of_output(g), source, &panels, out, (false, moments));
    });
    (out, parts)
}

/// Gradient of the input from that of the output, `[N, OH, OW, O]`, in `dx`, or added to it.
pub fn input_gradient<T: Element>(g: &Geometry, dy: &[T], weight: &[f32], dx: &mut [T], accumulate: bool) {
    let (c, o) = (g.c, g.o);
    let panels = Panels::new(PLANES * o, c, |first, panel| {
        let width = panel.len() / (PLANES * o);
        let lanes = width.min(c - first);
        wide(Taps { weight: &weight[first..], tap: c, channel: 9 * c, lanes, turned: true, planes: panel, width });
    });
    sums(&Tiles::of_input(g), Source { map: dy, affine: None }, &panels, dx, (accumulate, false));
}

fn sums<T: Element>(
    tiles: &Tiles,
    source: Source<'_, T>,
    panels: &Panels,
    out: &mut [T],
    (accumulate, moments): (bool, bool),
) -> Vec<Part> {
    let (c, o) = (tiles.windows.c, panels.channels);
    let mut rest = out;
    let mut items = Vec::new();
    for task in tiles.windows.tasks((TASK / PLANES / c).clamp(TILES.0, TILES.1)) {
        let (head, tail) = std::mem::take(&mut rest).split_at_mut(tiles.grid(&task).pixels() * o);
        items.push((task, head));
        rest = tail;
    }
    let each = |(task, out): (Task, &mut [T])| {
        let grid = tiles.grid(&task);
        let count = grid.tiles();
        let segments: Vec<Segment> =
            (0..c / LANES).map(|i| Segment { offset: i * count * LANES, depth: LANES }).collect();
        // Panels whose products fit beside the windows; windows pass once for each such group.
        let (group, firsts) = ((TASK / PLANES / count / panels.width()).max(1), panels.firsts().collect::<Vec<_>>());
        let ((length, plane), most) = (planes(count, c), (group * panels.width()).min(o));
        f32::with_scratch(length + planes(count, most).0, |buffer| {
            let (windows, products) = buffer.split_at_mut(length);
            tiles.window_planes(source, &task, windows);
            for firsts in firsts.chunks(group) {
                let width = most.min(o - firsts[0]);
                let (_, product) = planes(count, width);
                for i in 0..PLANES {
                    let windows = &windows[i * plane..][..plane];
                    for first in firsts {
                        let panel = panels.part(*first, (i * c, (i + 1) * c));
                        let run = [Run { source: 0, out: i * product + first - firsts[0], len: count }];
                        products::products(windows, &run, (LANES, width), &segments, panel, products, false);
                    }
                }
                let out = &mut out[firsts[0]..];
                wide(Written { products, plane: product, width, grid, out, o, accumulate });
            }
        });
        moments.then(|| norm::part(out, o))
    };
    let parts: Vec<Option<Part>> = items.into_par_iter().map(each).collect();
    parts.into_iter().flatten().collect()
}

/// The products of a weight gradient, one piece for each plane.
struct Planes<'a, T> {
    tiles: Tiles,
    source: Source<'a, T>,
    /// `[N, OH, OW, O]`.
    dy: &'a [T],
    o: usize,
}

impl<T: Element> Outer for Planes<'_, T> {
    fn channels(&self) -> (usize, usize) {
        (self.tiles.windows.c, self.o)
    }

    fn pieces(&self) -> usize {
        PLANES
    }

    fn tasks(&self, tiles: usize) -> Vec<Task> {
        self.tiles.windows.tasks(tiles)
    }

    fn lengths(&self, task: &Task) -> (usize, usize) {
        let tiles = self.tiles.grid(task).tiles();
        (planes(tiles, self.tiles.windows.c).0, planes(tiles, self.o).0)
    }

    fn copy(&self, task: &Task, windows: &mut [f32], gradients: &mut [f32]) -> Layout {
        let (grid, o) = (self.tiles.grid(task), self.o);
        let count = grid.tiles();
        let (window, gradient) = (planes(count, self.tiles.windows.c).1, planes(count, o).1);
        self.tiles.window_planes(self.source, task, windows);
        let dy = &self.dy[self.tiles.first(task) * o..][..grid.pixels() * o];
        wide(Spread { dy, grid, o, width: outer::width(o), plane: gradient, out: gradients });
        Layout {
            runs: vec![Run { source: 0, out: 0, len: count }],
            block: count * LANES,
            starts: (0..PLANES).map(|i| (i * window, i * gradient)).collect(),
        }
    }
}

/// Gradient of the weights, `[O, 3, 3, C]`.
pub fn weight_gradient<T: Element>(g: &Geometry, source: Source<'_, T>, dy: &[T]) -> Vec<f32> {
    let (c, o) = (g.c, g.o);
    let sums = outer::sums(&Planes { tiles: Tiles::of_output(g), source, dy, o });
    let taps = filled(9 * c * o, |out| {
        out.par_chunks_mut(9 * o).enumerate().for_each(|(channel, out)| {
            wide(TapsBack { sums: &sums, channel, out });
        });
    });
    let taps = &taps;
    transposed(9 * c, o, |first| {
        (0..9).flat_map(move |tap| (0..c).map(move |channel| &taps[(channel * 9 + tap) * o + first..][..LANES]))
    })
}
