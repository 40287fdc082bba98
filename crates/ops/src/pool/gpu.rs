//! Pooling of `[N, H, W, C]` on a GPU, by the kernels of `kernel.cu`.

use super::window::Window;
use crate::gpu::machine::{Arg, At, Kernels, Machine, Number, args, count, kernels, named};
use crate::gpu::tiles::Tiling;
use crate::gpu::{Gpu, at};
use crate::tensor::access::by_element;
use candle_core::{Result, Tensor, bail};

const KERNELS: Kernels = kernels!("pool");
/// Largest side of a window whose cells a byte numbers, with one number left over.
const LARGEST: usize = 15;

/// A window as the kernels' arguments.
fn arguments(window: &Window) -> impl Iterator<Item = Arg> {
    let Window { h, w, c, k, stride, before_h, before_w, oh, ow } = *window;
    [h, w, c, k, stride, before_h, before_w, oh, ow].into_iter().map(|v| Arg::I32(v as i32))
}

/// Runs a kernel that writes `rows` rows of pixels; `maps` are what takes part, for their addresses.
fn launch<M: Machine, T: Number>(
    m: &M,
    kernel: &str,
    rows: usize,
    (first, maps): (Vec<Arg>, &[At<T>]),
    window: &Window,
) -> Result<()> {
    let (image, out) = window.sizes();
    // Kernels number the elements of one image in 31 bits.
    count(image.max(out))?;
    let tiling = Tiling::of(rows, window.c, maps)?;
    let [packs, side, tiles] = tiling.args();
    let own = first.into_iter().chain([packs, side, tiles, Arg::from(tiling.wide)]);
    m.launch(tiling.launch(KERNELS, named::<T>(kernel), rows, own.chain(arguments(window)).collect())?)
}

/// The maximum over each window, to `out`; padding never wins. To `places`, where there is an address, goes the number of
/// the cell in its window that holds it: of equal ones the first in reading order.
pub fn launch_max<M: Machine, T: Number>(
    m: &M,
    n: usize,
    window: &Window,
    [x, out]: [At<T>; 2],
    places: At<u8>,
) -> Result<()> {
    if window.k > LARGEST {
        bail!("max_pool2d on a GPU: a window of {0}x{0}; at most {LARGEST}x{LARGEST}", window.k)
    }
    launch(m, "max_pool", n * window.oh, (args![x, out, places], &[x, out]), window)
}

/// The gradient of [`launch_max`], to `dx`: to the cells that `places` numbers.
pub fn launch_max_gradient<M: Machine, T: Number>(
    m: &M,
    n: usize,
    window: &Window,
    places: At<u8>,
    [dy, dx]: [At<T>; 2],
) -> Result<()> {
    launch(m, "max_pool_gradient", n * window.h, (args![places, dy, dx], &[dy, dx]), window)
}

/// The average over each window, to `out`; `all`: padding counts.
pub fn launch_average<M: Machine, T: Number>(
    m: &M,
    n: usize,
    window: &Window,
    all: bool,
    [x, out]: [At<T>; 2],
) -> Result<()> {
    launch(m, "avg_pool", n * window.oh, (args![x, out, all], &[x, out]), window)
}

/// The gradient of [`launch_average`], to `dx`.
pub fn launch_average_gradient<M: Machine, T: Number>(
    m: &M,
    n: usize,
    window: &Window,
    all: bool,
    [dy, dx]: [At<T>; 2],
) -> Result<()> {
    launch(m, "avg_pool_gradient", n * window.h, (args![dy, dx, all], &[dy, dx]), window)
}

/// The maximum over each window, `[N, OH, OW, C]`; padding never wins. Where `placed`, with the number of the cell in its
/// window that holds it, a byte each.
///
/// # Errors
/// When memory is short, or a byte cannot number a window's cells.
pub fn max(gpu: &Gpu, window: &Window, x: &Tensor, placed: bool) -> Result<(Tensor, Option<Tensor>)> {
    let (n, shape) = (x.dim(0)?, window.out(x.dim(0)?));
    let places = if placed { Some(gpu.new_tensor::<u8>(shape)?) } else { None };
    let (places, place) = places.map_or((None, At::none()), |(tensor, at)| (Some(tensor), at));
    by_element!(x, T => {
        let (out, to) = gpu.new_tensor::<T>(shape)?;
        launch_max(gpu, n, window, [at::<T>(x)?, to], place)?;
        Ok((out, places))
    })
}

/// The gradient of [`max`], `[N, H, W, C]`: to the cells that held the maxima.
///
/// # Errors
/// When memory is short.
pub fn max_gradient(gpu: &Gpu, window: &Window, places: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let n = dy.dim(0)?;
    by_element!(dy, T => {
        let (dx, to) = gpu.new_tensor::<T>(window.image(n))?;
        launch_max_gradient(gpu, n, window, at(places)?, [at(dy)?, to])?;
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
        launch_average(gpu, n, window, count_padding, [at::<T>(x)?, to])?;
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
        launch_average_gradient(gpu, n, window, count_padding, [at(dy)?, to])?;
        Ok(dx)
    })
}
