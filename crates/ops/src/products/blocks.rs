//! The inner loops of convolution: sums over windows, their gradient for the weights, and windows lined up for it.
//!
//! A block of `P` pixels (or `J` weights) by `B` vectors of output channels stays in registers while the sum runs over
//! its depth; each step loads `B` vectors and broadcasts `P` floats. Blocks are as large as a unit's registers allow
//! ([`Wide::ROWS`]), so that loads keep pace with arithmetic. Each sum has one accumulator and runs along its depth in
//! order: the size of blocks changes no bit.

#![allow(unsafe_code)]

use super::runs::{Run, Segment};
use crate::simd::{Kernel, LANES, Wide, wide};

/// What a block of output channels is multiplied with.
#[derive(Clone, Copy)]
pub struct Panel<'a> {
    /// `[depth, B * LANES]`, zero past the last channel.
    pub weights: &'a [f32],
    /// Vectors of channels, as [`vectors`] says.
    pub vectors: usize,
    /// Channels that are stored.
    pub lanes: usize,
}

/// Most rows of a block of so many vectors on the chosen unit, zero where it has no such blocks.
fn most(vectors: usize) -> usize {
    struct Most(usize);
    impl Kernel for Most {
        type Output = usize;
        #[inline(always)]
        fn run<S: Wide>(self) -> usize {
            S::ROWS[self.0]
        }
    }
    wide(Most(vectors))
}

/// Vectors of output channels in a block of a sum over windows.
pub fn vectors(channels: usize) -> usize {
    let wanted = match channels.div_ceil(LANES) {
        0 | 1 => 1,
        2 => 2,
        _ => 4,
    };
    if most(wanted) > 0 { wanted } else { 1 }
}

/// Calls the kernel whose block has `$n` rows.
macro_rules! sized {
    ($n:expr, $block:ident, $b:literal, $args:tt, $($size:literal)*) => {
        match $n {
            $($size => wide($block::<$size, $b> $args),)*
            other => unreachable!("a block of {other} rows"),
        }
    };
}

/// `out[pixel] (+)= sum over segments and depth of source * weights`, for every pixel of the runs and the channels of one
/// panel. `steps` are the distances of neighbouring pixels in the source and in `out`.
///
/// # Panics
/// When a slice is too short.
pub fn products(
    source: &[f32],
    runs: &[Run],
    steps: (usize, usize),
    segments: &[Segment],
    panel: Panel<'_>,
    out: &mut [f32],
    accumulate: bool,
) {
    let depth: usize = segments.iter().map(|s| s.depth).sum();
    let reach = segments.iter().map(|s| s.offset + s.depth).max().unwrap_or(0);
    assert!(panel.weights.len() == depth * panel.vectors * LANES, "products: a panel of another depth");
    assert!(panel.lanes <= panel.vectors * LANES, "products: {} channels in {} vectors", panel.lanes, panel.vectors);
    for run in runs.iter().filter(|r| r.len > 0) {
        assert!(run.source + (run.len - 1) * steps.0 + reach <= source.len(), "products: {run:?} leaves the source");
        assert!(run.out + (run.len - 1) * steps.1 + panel.lanes <= out.len(), "products: {run:?} leaves the output");
    }
    let most = most(panel.vectors);
    for run in runs.iter().filter(|r| r.len > 0) {
        // Blocks of nearly one size: a short rest would leave registers idle.
        let blocks = run.len.div_ceil(most);
        for block in 0..blocks {
            let (first, end) = (run.len * block / blocks, run.len * (block + 1) / blocks);
            let from = source[run.source + first * steps.0..].as_ptr();
            let to = out[run.out + first * steps.1..].as_mut_ptr();
            match panel.vectors {
                1 => sized!(end - first, Rows, 1, { from, to, steps, segments, panel, accumulate },
                    1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16),
                2 => sized!(end - first, Rows, 2, { from, to, steps, segments, panel, accumulate },
                    1 2 3 4 5 6 7 8 9 10 11 12),
                _ => sized!(end - first, Rows, 4, { from, to, steps, segments, panel, accumulate }, 1 2 3 4 5 6),
            }
        }
    }
}

/// A block of [`products`]. `P` windows of the segments can be read at `from`, `P` times the panel's lanes written at
/// `to`, as [`products`] has asserted.
struct Rows<'a, const P: usize, const B: usize> {
    from: *const f32,
    to: *mut f32,
    steps: (usize, usize),
    segments: &'a [Segment],
    panel: Panel<'a>,
    accumulate: bool,
}

/// Steps of the depth in one turn of the loop.
const UNROLL: usize = 4;

impl<const P: usize, const B: usize> Kernel for Rows<'_, P, B> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        if const { P > S::ROWS[B] } {
            unreachable!("no block of {P} rows")
        }
        let Self { from, to, steps, segments, panel, accumulate } = self;
        let lanes: [usize; B] = std::array::from_fn(
            #[inline(always)]
            |b| panel.lanes.saturating_sub(b * LANES).min(LANES),
        );
        let mut sum = [[S::splat(0.0); B]; P];
        if accumulate {
            for (p, sum) in sum.iter_mut().enumerate() {
                for (b, sum) in sum.iter_mut().enumerate() {
                    // SAFETY: the output of the block can be read.
                    *sum = unsafe { S::load_part(to.wrapping_add(p * steps.1 + b * LANES), lanes[b]) };
                }
            }
        }
        if B == 1 && !accumulate {
            // Lines of the output come from memory while the sums are made: blocks this narrow fill them one at a time.
            for p in 0..P {
                S::prefetch(to.wrapping_add(p * steps.1).cast_const());
            }
        }
        let mut weights = panel.weights.as_ptr();
        for segment in segments {
            let mut at = [from; P];
            for (p, at) in at.iter_mut().enumerate() {
                *at = from.wrapping_add(p * steps.0 + segment.offset);
            }
            let mut d = 0;
            // Unrolled where registers hold the pointers of all rows: a tenth faster.
            while P <= 6 && d + UNROLL <= segment.depth {
                if B == 4 && d % LANES == 0 {
                    // The windows of the next pixels: they come from memory in as many streams as there are rows.
                    for at in &at {
                        S::prefetch(at.wrapping_add(d + P * steps.0));
                    }
                }
                for u in 0..UNROLL {
                    // SAFETY: the panel holds `B` vectors for each step of the depth, and each window its floats.
                    weights = unsafe { advance::<S, P, B>(&mut sum, &at, d + u, weights) };
                }
                d += UNROLL;
            }
            while d < segment.depth {
                // SAFETY: the panel holds `B` vectors for each step of the depth, and each window its floats.
                weights = unsafe { advance::<S, P, B>(&mut sum, &at, d, weights) };
                d += 1;
            }
        }
        for (p, sum) in sum.iter().enumerate() {
            for (b, sum) in sum.iter().enumerate() {
                // SAFETY: the output of the block can be written.
                unsafe { sum.store_part(to.wrapping_add(p * steps.1 + b * LANES), lanes[b]) };
            }
        }
    }
}

/// One step of the depth; the weights of the next come back.
///
/// # Safety
/// Float `d` of each window and `B` vectors of weights can be read.
#[inline(always)]
unsafe fn advance<S: Wide, const P: usize, const B: usize>(
    sum: &mut [[S; B]; P],
    at: &[*const f32; P],
    d: usize,
    weights: *const f32,
) -> *const f32 {
    let mut values = [S::splat(0.0); B];
    for (b, value) in values.iter_mut().enumerate() {
        // SAFETY: `B` vectors of weights can be read.
        *value = unsafe { S::load(weights.wrapping_add(b * LANES)) };
    }
    for (sum, at) in sum.iter_mut().zip(at) {
        // SAFETY: float `d` of the window can be read.
        multiply(sum, unsafe { *at.wrapping_add(d) }, &values);
    }
    weights.wrapping_add(B * LANES)
}

/// `sum += scale * values`.
#[inline(always)]
fn multiply<S: Wide, const B: usize>(sum: &mut [S; B], scale: f32, values: &[S; B]) {
    let scale = S::splat(scale);
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum = scale.times_plus(*value, *sum);
    }
}

/// Most weights of a block of [`outer`] with so many vectors of channels: what keeps the unit's registers full.
pub fn most_weights(vectors: usize) -> usize {
    match most(vectors) {
        // Such a unit takes one vector after the other.
        0 => most(1),
        rows => rows,
    }
}

/// Gradients of pixels for [`outer`]: those of all runs in turn, [`LANES`] or twice as many channels each.
#[derive(Clone, Copy)]
pub struct Gradients<'a> {
    pub data: &'a [f32],
    /// Vectors of channels, 1 or 2.
    pub vectors: usize,
    /// Channels that are stored.
    pub lanes: usize,
}

/// `sum[j, channel] (+)= sum over pixels of source[pixel + j] * dy[pixel, channel]` for `depth` floats `j` from the start
/// of each window on, at most [`most_weights`]. Rows of `sum` are `width` long.
///
/// # Panics
/// When a slice is too short, or there are more weights.
pub fn outer(
    source: &[f32],
    runs: &[Run],
    step: usize,
    depth: usize,
    dy: Gradients<'_>,
    (sum, width): (&mut [f32], usize),
    accumulate: bool,
) {
    let pixels: usize = runs.iter().map(|r| r.len).sum();
    let Gradients { data, vectors, lanes } = dy;
    let row = vectors * LANES;
    assert!(
        (1..=2).contains(&vectors) && data.len() >= pixels * row,
        "outer: {} floats for {pixels} pixels",
        data.len()
    );
    assert!(lanes <= row && (depth == 0 || sum.len() >= (depth - 1) * width + lanes), "outer: sums too short");
    for run in runs.iter().filter(|r| r.len > 0) {
        assert!(run.source + (run.len - 1) * step + depth <= source.len(), "outer: {run:?} leaves the source");
    }
    let (from, to, dy) = (source.as_ptr(), (sum.as_mut_ptr(), width), data.as_ptr());
    if vectors == 2 && most(2) > 0 {
        return sized!(depth, Columns, 2, { from, runs, step, dy, row, to, lanes, accumulate },
            1 2 3 4 5 6 7 8 9 10 11 12);
    }
    for vector in 0..vectors {
        let (dy, to) = (dy.wrapping_add(vector * LANES), (to.0.wrapping_add(vector * LANES), width));
        let lanes = lanes.saturating_sub(vector * LANES).min(LANES);
        sized!(depth, Columns, 1, { from, runs, step, dy, row, to, lanes, accumulate },
            1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16);
    }
}

/// A block of [`outer`]. `J` floats can be read at every pixel of the runs from `from` on, `B` vectors of `dy` for each
/// pixel, `row` apart; `J` rows of `lanes` floats, `to.1` apart, can be written at `to.0`, as [`outer`] has asserted.
struct Columns<'a, const J: usize, const B: usize> {
    from: *const f32,
    runs: &'a [Run],
    step: usize,
    dy: *const f32,
    row: usize,
    to: (*mut f32, usize),
    lanes: usize,
    accumulate: bool,
}

impl<const J: usize, const B: usize> Kernel for Columns<'_, J, B> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        if const { J > S::ROWS[B] } {
            unreachable!("no block of {J} weights")
        }
        let Self { from, runs, step, mut dy, row, to: (to, width), lanes, accumulate } = self;
        let mut sum = [[S::splat(0.0); B]; J];
        for run in runs {
            let mut at = from.wrapping_add(run.source);
            for _ in 0..run.len {
                let mut values = [S::splat(0.0); B];
                for (b, value) in values.iter_mut().enumerate() {
                    // SAFETY: the gradients of the pixel can be read.
                    *value = unsafe { S::load(dy.wrapping_add(b * LANES)) };
                }
                for (j, sum) in sum.iter_mut().enumerate() {
                    // SAFETY: `J` floats can be read at the pixel.
                    multiply(sum, unsafe { *at.wrapping_add(j) }, &values);
                }
                dy = dy.wrapping_add(row);
                at = at.wrapping_add(step);
            }
        }
        for (j, sum) in sum.iter().enumerate() {
            for (b, sum) in sum.iter().enumerate() {
                let (at, lanes) = (to.wrapping_add(j * width + b * LANES), lanes.saturating_sub(b * LANES).min(LANES));
                // SAFETY: the lanes of each row can be read and written.
                unsafe {
                    let before = if accumulate { S::load_part(at, lanes) } else { S::splat(0.0) };
                    before.plus(*sum).store_part(at, lanes);
                }
            }
        }
    }
}

/// The first `depth` floats, at most [`LANES`], of every window of the runs, as vectors `width` apart in `columns`; zero
/// past `depth`.
///
/// # Panics
/// When a slice is too short.
pub fn line_up(from: &[f32], runs: &[Run], step: usize, depth: usize, columns: &mut [f32], width: usize) {
    let pixels: usize = runs.iter().map(|r| r.len).sum();
    assert!(depth <= LANES && width >= LANES, "line_up: windows of {depth}, {width} apart");
    assert!(pixels == 0 || columns.len() >= (pixels - 1) * width + LANES, "line_up: no room for {pixels} windows");
    for run in runs.iter().filter(|r| r.len > 0) {
        assert!(run.source + (run.len - 1) * step + depth <= from.len(), "line_up: {run:?} leaves the source");
    }
    wide(LineUp { from, runs, step, depth, columns, width });
}

struct LineUp<'a> {
    from: &'a [f32],
    runs: &'a [Run],
    step: usize,
    depth: usize,
    columns: &'a mut [f32],
    width: usize,
}

impl Kernel for LineUp<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let mut to = self.columns.as_mut_ptr();
        for run in self.runs {
            let mut at = self.from.as_ptr().wrapping_add(run.source);
            for _ in 0..run.len {
                // SAFETY: `line_up` has asserted that windows and columns lie in their slices.
                unsafe { S::load_part(at, self.depth).store(to) };
                at = at.wrapping_add(self.step);
                to = to.wrapping_add(self.width);
            }
        }
    }
}
