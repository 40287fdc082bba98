//! The maps between pixels and planes, a vector of channels at a time.
//!
//! `B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]`, `G = [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1]`,
//! `A^T = [1 1 1 0; 0 1 -1 -1]`; each is applied to columns, then to rows.

#![allow(unsafe_code)]

use super::super::outer::Sums;
use crate::products::Run;
use crate::simd::{Element, Kernel, LANES, Wide};

/// Numbers that stand for a tile.
pub const PLANES: usize = 16;

/// Output pixels of a task, `[images, rows, cols]`; tiles at the end of odd rows and columns hang over.
#[derive(Clone, Copy)]
pub struct Grid {
    pub images: usize,
    pub rows: usize,
    pub cols: usize,
}

impl Grid {
    pub fn pixels(&self) -> usize {
        self.images * self.rows * self.cols
    }

    pub fn tiles(&self) -> usize {
        self.images * self.rows.div_ceil(2) * self.cols.div_ceil(2)
    }

    /// Calls `f` with the number of each tile, its first pixel, and whether it has a second row and a second column.
    #[inline(always)]
    fn each(&self, mut f: impl FnMut(usize, usize, bool, bool)) {
        let mut tile = 0;
        for image in 0..self.images {
            for row in (0..self.rows).step_by(2) {
                for col in (0..self.cols).step_by(2) {
                    let pixel = (image * self.rows + row) * self.cols + col;
                    f(tile, pixel, row + 1 < self.rows, col + 1 < self.cols);
                    tile += 1;
                }
            }
        }
    }
}

#[inline(always)]
fn windowed<S: Wide>([a, b, c, d]: [S; 4]) -> [S; 4] {
    [a.minus(c), b.plus(c), c.minus(b), b.minus(d)]
}

#[inline(always)]
fn written<S: Wide>([a, b, c, d]: [S; 4]) -> [S; 2] {
    [a.plus(b).plus(c), b.minus(c).minus(d)]
}

/// The adjoint of [`written`].
#[inline(always)]
fn spread<S: Wide>([a, b]: [S; 2]) -> [S; 4] {
    [a, a.plus(b), a.minus(b), S::splat(0.0).minus(b)]
}

#[inline(always)]
fn tapped<S: Wide>([a, b, c]: [S; 3]) -> [S; 4] {
    let (half, ends) = (S::splat(0.5), a.plus(c));
    [a, ends.plus(b).times(half), ends.minus(b).times(half), c]
}

/// The adjoint of [`tapped`].
#[inline(always)]
fn tapped_back<S: Wide>([a, b, c, d]: [S; 4]) -> [S; 3] {
    let half = S::splat(0.5);
    let (sum, difference) = (b.plus(c).times(half), b.minus(c).times(half));
    [a.plus(sum), difference, d.plus(sum)]
}

/// Applies `f` to the columns of `x` `[I, I]`, then to the rows of what results: `[O, O]`.
#[inline(always)]
fn both<S: Wide, const I: usize, const O: usize>(x: [[S; I]; I], f: impl Fn([S; I]) -> [S; O]) -> [[S; O]; O] {
    let zero = S::splat(0.0);
    let mut half = [[zero; I]; O];
    for j in 0..I {
        let mut column = [zero; I];
        for i in 0..I {
            column[i] = x[i][j];
        }
        let mapped = f(column);
        for i in 0..O {
            half[i][j] = mapped[i];
        }
    }
    let mut out = [[zero; O]; O];
    for i in 0..O {
        out[i] = f(half[i]);
    }
    out
}

/// Windows of 4x4 pixels to planes `[C / LANES, tiles, LANES]`.
pub struct Windowed<'a, T> {
    pub padded: &'a [T],
    /// Windows that follow one another at a step of two pixels.
    pub runs: &'a [Run],
    /// Floats of a row of `padded`.
    pub row: usize,
    pub c: usize,
    /// Floats from one plane to the next.
    pub plane: usize,
    pub out: &'a mut [f32],
}

impl<T: Element> Kernel for Windowed<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let Self { padded, runs, row, c, plane, out } = self;
        let tiles: usize = runs.iter().map(|r| r.len).sum();
        assert!(c % LANES == 0 && tiles * c <= plane && PLANES * plane <= out.len(), "planes too short");
        for run in runs.iter().filter(|r| r.len > 0) {
            let end = run.source + 3 * row + (2 * (run.len - 1) + 4) * c;
            assert!(end <= padded.len(), "{run:?} leaves the map");
        }
        let mut to = out.as_mut_ptr();
        for channel in (0..c).step_by(LANES) {
            for run in runs {
                let mut from = padded.as_ptr().wrapping_add(run.source + channel);
                for _ in 0..run.len {
                    let mut x = [[S::splat(0.0); 4]; 4];
                    for (u, line) in x.iter_mut().enumerate() {
                        for (v, x) in line.iter_mut().enumerate() {
                            // SAFETY: the assertions above keep the window inside the map.
                            *x = unsafe { T::load(from.wrapping_add(u * row + v * c)) };
                        }
                    }
                    let y = both(
                        x,
                        #[inline(always)]
                        |x| windowed(x),
                    );
                    for (i, y) in y.as_flattened().iter().enumerate() {
                        // SAFETY: a vector for each tile and channel fits each plane.
                        unsafe { y.store(to.wrapping_add(i * plane)) };
                    }
                    to = to.wrapping_add(LANES);
                    from = from.wrapping_add(2 * c);
                }
            }
        }
    }
}

/// Planes of products, `[tiles, width]`, to output pixels, `[pixels, O]`, of which `out` starts at the first channel.
pub struct Written<'a, T> {
    pub products: &'a [f32],
    pub plane: usize,
    pub width: usize,
    pub grid: Grid,
    pub out: &'a mut [T],
    pub o: usize,
    pub accumulate: bool,
}

impl<T: Element> Kernel for Written<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let Self { products, plane, width, grid, out, o, accumulate } = self;
        assert!(width % LANES == 0 && grid.tiles() * width <= plane, "products: planes of another shape");
        assert!(PLANES * plane <= products.len(), "products: planes too short");
        assert!((grid.pixels() - 1) * o + width <= out.len(), "products: no room for the output");
        let (from, out) = (products.as_ptr(), out.as_mut_ptr());
        grid.each(
            #[inline(always)]
            |tile, pixel, second_row, second_col| {
                for channel in (0..width).step_by(LANES) {
                    let mut x = [[S::splat(0.0); 4]; 4];
                    for (i, x) in x.as_flattened_mut().iter_mut().enumerate() {
                        // SAFETY: the assertions above; the tile and channel lie in each plane.
                        *x = unsafe { S::load(from.wrapping_add(i * plane + tile * width + channel)) };
                    }
                    let y = both(
                        x,
                        #[inline(always)]
                        |x| written(x),
                    );
                    for (r, line) in y.iter().enumerate() {
                        for (s, y) in line.iter().enumerate() {
                            if (r == 0 || second_row) && (s == 0 || second_col) {
                                let at = out.wrapping_add((pixel + r * grid.cols + s) * o + channel);
                                // SAFETY: the pixel lies in the grid, whose last one fits.
                                unsafe { T::store(if accumulate { y.plus(T::load(at)) } else { *y }, at) };
                            }
                        }
                    }
                }
            },
        );
    }
}

/// Gradients of output pixels, `[pixels, O]`, to planes `[O / width, tiles, width]`.
pub struct Spread<'a, T> {
    pub dy: &'a [T],
    pub grid: Grid,
    pub o: usize,
    pub width: usize,
    pub plane: usize,
    pub out: &'a mut [f32],
}

impl<T: Element> Kernel for Spread<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let Self { dy, grid, o, width, plane, out } = self;
        let tiles = grid.tiles();
        assert!(width % LANES == 0 && o % width == 0 && tiles * o <= plane, "gradients: planes of another shape");
        assert!(PLANES * plane <= out.len() && grid.pixels() * o <= dy.len(), "gradients: slices too short");
        let (from, out) = (dy.as_ptr(), out.as_mut_ptr());
        grid.each(
            #[inline(always)]
            |tile, pixel, second_row, second_col| {
                for channel in (0..o).step_by(LANES) {
                    let mut x = [[S::splat(0.0); 2]; 2];
                    for (r, line) in x.iter_mut().enumerate() {
                        for (s, x) in line.iter_mut().enumerate() {
                            if (r == 0 || second_row) && (s == 0 || second_col) {
                                // SAFETY: the assertions above; the pixel lies in the grid.
                                *x = unsafe { T::load(from.wrapping_add((pixel + r * grid.cols + s) * o + channel)) };
                            }
                        }
                    }
                    let y = both(
                        x,
                        #[inline(always)]
                        |x| spread(x),
                    );
                    let place = (channel / width * tiles + tile) * width + channel % width;
                    for (i, y) in y.as_flattened().iter().enumerate() {
                        // SAFETY: the tile and channel lie in each plane.
                        unsafe { y.store(out.wrapping_add(i * plane + place)) };
                    }
                }
            },
        );
    }
}

/// Weights of some lanes and every step of the depth to planes `[PLANES, depth, width]`, zero past the lanes.
pub struct Taps<'a> {
    /// The weights of tap `t`, step `d`, lane `l` stand at `t * tap + d * channel + l`.
    pub weight: &'a [f32],
    pub tap: usize,
    pub channel: usize,
    pub lanes: usize,
    /// The kernel is turned around.
    pub turned: bool,
    pub planes: &'a mut [f32],
    pub width: usize,
}

impl Kernel for Taps<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let Self { weight, tap, channel, lanes, turned, planes, width } = self;
        let depth = planes.len() / (PLANES * width);
        assert!(lanes % LANES == 0 && lanes <= width && planes.len() == PLANES * depth * width, "taps: {lanes} lanes");
        assert!(weight.len() >= 8 * tap + (depth - 1) * channel + lanes, "taps: weights too short");
        for d in 0..depth {
            for lane in (0..lanes).step_by(LANES) {
                let mut x = [[S::splat(0.0); 3]; 3];
                for (i, x) in x.as_flattened_mut().iter_mut().enumerate() {
                    let i = if turned { 8 - i } else { i };
                    // SAFETY: the assertions above.
                    *x = unsafe { S::load(weight.as_ptr().add(i * tap + d * channel + lane)) };
                }
                let y = both(
                    x,
                    #[inline(always)]
                    |x| tapped(x),
                );
                for (i, y) in y.as_flattened().iter().enumerate() {
                    // SAFETY: the assertions above.
                    unsafe { y.store(planes.as_mut_ptr().add((i * depth + d) * width + lane)) };
                }
            }
        }
    }
}

/// The gradients of one input channel's weights, `[9, O]`, from the sums of all planes.
pub struct TapsBack<'a> {
    pub sums: &'a Sums,
    pub channel: usize,
    pub out: &'a mut [f32],
}

impl Kernel for TapsBack<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let Self { sums, channel, out } = self;
        let (o, plane) = (sums.o, sums.c * sums.o);
        assert!(o % LANES == 0 && channel < sums.c, "gradients of taps: no channel {channel}");
        assert!(sums.data.len() >= PLANES * plane && out.len() >= 9 * o, "gradients of taps: slices too short");
        for lane in (0..o).step_by(LANES) {
            let place = sums.place(0, channel, lane);
            assert!(place + LANES <= plane, "gradients of taps: a place outside its plane");
            let mut x = [[S::splat(0.0); 4]; 4];
            for (i, x) in x.as_flattened_mut().iter_mut().enumerate() {
                // SAFETY: the assertions above.
                *x = unsafe { S::load(sums.data.as_ptr().add(i * plane + place)) };
            }
            let y = both(
                x,
                #[inline(always)]
                |x| tapped_back(x),
            );
            for (i, y) in y.as_flattened().iter().enumerate() {
                // SAFETY: the assertions above.
                unsafe { y.store(out.as_mut_ptr().add(i * o + lane)) };
            }
        }
    }
}
