//! Pooling of `[N, H, W, C]` on a GPU, by the kernels of `kernel.cu`.

use super::window::Window;
use crate::gpu::machine::{Arg, At, Kernels, Launch, Machine, Number, args, kernels, named};
use crate::gpu::{Gpu, at};
use crate::tensor::access::by_element;
use candle_core::{Result, Tensor};

const KERNELS: Kernels = kernels!("pool");

/// A window as the kernels' arguments.
fn arguments(window: &Window) -> impl Iterator<Item = Arg> {
    let Window { h, w, c, k, stride, before_h, before_w, oh, ow } = *window;
    [h, w, c, k, stride, before_h, before_w, oh, ow].into_iter().map(|v| Arg::I32(v as i32))
}

fn launch<M: Machine, T: Number>(m: &M, kernel: &str, items: usize, maps: Vec<Arg>, window: &Window) -> Result<()> {
    let args = maps.into_iter().chain([Arg::I64(items as i64)]).chain(arguments(window)).collect();
    m.launch(Launch::items(KERNELS, named::<T>(kernel), items, args)?)
}

/// The maximum over each window, to `out`; padding never wins.
pub fn launch_max<M: Machine, T: Number>(m: &M, n: usize, window: &Window, x: At<T>, out: At<T>) -> Result<()> {
    launch::<M, T>(m, "max_pool", n * window.sizes().1, args![x, out], window)
}

/// The gradient of [`launch_max`], to `dx`: to the first cell in reading order that holds the maximum.
pub fn launch_max_gradient<M: Machine, T: Number>(
    m: &M,
    n: usize,
    window: &Window,
    [x, y, dy, dx]: [At<T>; 4],
) -> Result<()> {
    launch::<M, T>(m, "max_pool_gradient", n * window.sizes().0, args![x, y, dy, dx], window)
}

/// The average over each window, to `out`; `all`: padding counts.
pub fn launch_average<M: Machine, T: Number>(
    m: &M,
    n: usize,
    window: &Window,
    all: bool,
    x: At<T>,
    out: At<T>,
) -> Result<()> {
    launch::<M, T>(m, "avg_pool", n * window.sizes().1, args![x, out, all], window)
}

/// The gradient of [`launch_average`], to `dx`.
pub fn launch_average_gradient<M: Machine, T: Number>(
    m: &M,
    n: usize,
    window: &Window,
    all: bool,
    dy: At<T>,
    dx: At<T>,
) -> Result<()> {
    launch::<M, T>(m, "avg_pool_gradient", n * window.sizes().0, args![dy, dx, all], window)
}

/// The maximum over each window, `[N, OH, OW, C]`; padding never wins.
///
/// # Errors
/// When memory is short.
pub fn max(gpu: &Gpu, window: &Window, x: &Tensor) -> Result<Tensor> {
    let n = x.dim(0)?;
    by_element!(x, T => {
        let (out, to) = gpu.new_tensor::<T>(window.out(n))?;
        launch_max(gpu, n, window, at::<T>(x)?, to)?;
        Ok(out)
    })
}

/// The gradient of [`max`], `[N, H, W, C]`: to the first cell in reading order that holds the maximum `y`.
///
/// # Errors
/// When memory is short.
pub fn max_gradient(gpu: &Gpu, window: &Window, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let n = x.dim(0)?;
    by_element!(x, T => {
        let (dx, to) = gpu.new_tensor::<T>(x.shape())?;
        launch_max_gradient(gpu, n, window, [at(x)?, at(y)?, at(dy)?, to])?;
        Ok(dx)
    })
}

/// The average over each window, `[N, OH, OW, C]`: over all its cells when `count_padding`, else over those in the image.
///
/// # Errors
/// When memory is short.
pub fn average(gpu: &Gpu, window: &Window, count_padding: bool, x: &Tensor) -> Result<Tensor> {
    let n = x.dim(0)?;
    by_element!(x, T => {
        let (out, to) = gpu.new_tensor::<T>(window.out(n))?;
        launch_average(gpu, n, window, count_padding, at::<T>(x)?, to)?;
        Ok(out)
    })
}

/// The gradient of [`average`], `[N, H, W, C]`.
///
/// # Errors
/// When memory is short.
pub fn average_gradient(gpu: &Gpu, window: &Window, count_padding: bool, dy: &Tensor) -> Result<Tensor> {
    let n = dy.dim(0)?;
    by_element!(dy, T => {
        let (dx, to) = gpu.new_tensor::<T>(window.image(n))?;
        launch_average_gradient(gpu, n, window, count_padding, at(dy)?, to)?;
        Ok(dx)
    })
}
