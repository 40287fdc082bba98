//! Pooling of `[N, H, W, C]`: as [`crate::cpu::pool`], by the kernels of `pool.cu`.

use super::machine::{Arg, At, Launch, Machine, Number, args, named};
use crate::cpu::pool::Window;
use candle_core::Result;

const SOURCE: &str = "pool";

impl Window {
    /// The kernels' arguments.
    fn arguments(&self) -> impl Iterator<Item = Arg> {
        let Self { h, w, c, k, stride, before_h, before_w, oh, ow } = *self;
        [h, w, c, k, stride, before_h, before_w, oh, ow].into_iter().map(|v| Arg::I32(v as i32))
    }

    /// Elements of an image, and of its result.
    fn elements(&self) -> (usize, usize) {
        (self.h * self.w * self.c, self.oh * self.ow * self.c)
    }
}

fn launch<M: Machine, T: Number>(m: &M, kernel: &str, items: usize, maps: Vec<Arg>, window: &Window) -> Result<()> {
    let args = maps.into_iter().chain([Arg::I64(items as i64)]).chain(window.arguments()).collect();
    m.launch(Launch::items(SOURCE, named::<T>(kernel), items, args)?)
}

/// The maximum over each window, to `out`; padding never wins.
pub fn max<M: Machine, T: Number>(m: &M, n: usize, window: &Window, x: At<T>, out: At<T>) -> Result<()> {
    launch::<M, T>(m, "max_pool", n * window.elements().1, args![x, out], window)
}

/// The gradient of [`max`], to `dx`: to the first cell in reading order that holds the maximum.
pub fn max_gradient<M: Machine, T: Number>(m: &M, n: usize, window: &Window, [x, y, dy, dx]: [At<T>; 4]) -> Result<()> {
    launch::<M, T>(m, "max_pool_gradient", n * window.elements().0, args![x, y, dy, dx], window)
}

/// The average over each window, to `out`; `all`: padding counts.
pub fn average<M: Machine, T: Number>(m: &M, n: usize, window: &Window, all: bool, x: At<T>, out: At<T>) -> Result<()> {
    launch::<M, T>(m, "avg_pool", n * window.elements().1, args![x, out, all], window)
}

/// The gradient of [`average`], to `dx`.
pub fn average_gradient<M: Machine, T: Number>(
    m: &M,
    n: usize,
    window: &Window,
    all: bool,
    dy: At<T>,
    dx: At<T>,
) -> Result<()> {
    launch::<M, T>(m, "avg_pool_gradient", n * window.elements().0, args![dy, dx, all], window)
}

/// Images, pixels of an image, and channels of a stream; and how many streams stand side by side.
#[derive(Clone, Copy)]
pub struct Streams {
    pub n: usize,
    pub pixels: usize,
    pub f: usize,
    pub streams: usize,
}

/// The mean over the pixels of each image, streams added: `[N, P, streams F]` to f32 `[N, F]`.
pub fn mean<M: Machine, T: Number>(m: &M, s: Streams, x: At<T>, out: At<f32>) -> Result<()> {
    let args = args![x, s.pixels as i64, s.f as i64, s.streams as i32, out];
    m.launch(Launch::tiles(SOURCE, named::<T>("pixel_mean"), (s.f, s.n), args)?)
}

/// The way back of [`mean`], to `dx`.
pub fn mean_gradient<M: Machine, T: Number>(m: &M, s: Streams, dy: At<f32>, dx: At<T>) -> Result<()> {
    let (items, share) = (s.n * s.pixels * s.f * s.streams, 1.0 / s.pixels as f32);
    let args = args![dy, s.pixels as i64, s.f as i64, s.streams as i32, share, dx, items as i64];
    m.launch(Launch::items(SOURCE, named::<T>("pixel_spread"), items, args)?)
}
