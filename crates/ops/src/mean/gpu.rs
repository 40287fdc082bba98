//! Means over pixels on a GPU, by the kernels of `kernel.cu`.

use super::streams::Streams;
use crate::gpu::machine::{At, Kernels, Machine, Number, args, count, kernels, named};
use crate::gpu::tiles::Tiling;
use crate::gpu::{Gpu, at};
use crate::tensor::access::by_element;
use candle_core::{DType, Result, Shape, Tensor};
use half::bf16;

const KERNELS: Kernels = kernels!("mean");

/// The mean over the pixels of each image, streams added: `[N, P, streams F]` to f32 `[N, F]`.
pub fn launch_mean<M: Machine, T: Number>(m: &M, s: Streams, x: At<T>, out: At<f32>) -> Result<()> {
    count(s.n * s.f)?;
    let tiling = Tiling::of(s.rows(), s.f, &[x])?;
    let [packs, side, tiles] = tiling.args();
    let args = args![x, s.pixels as u32, packs, side, tiles, tiling.wide, s.streams as u32, out];
    m.launch(tiling.launch(KERNELS, named::<T>("pixel_mean"), s.n, args)?)
}

/// The gradient of [`launch_mean`], to `dx`.
pub fn launch_mean_gradient<M: Machine, T: Number>(m: &M, s: Streams, dy: At<f32>, dx: At<T>) -> Result<()> {
    let tiling = Tiling::of(s.rows(), s.f, &[dx, At::new(dy.0)])?;
    let ([packs, side, tiles], splits) = (tiling.args(), tiling.splits(s.n));
    let (rows, share) = ((s.pixels * s.streams) as u32, 1.0 / s.pixels as f32);
    let args = args![dy, rows, packs, side, tiles, tiling.wide, splits as u32, share, dx];
    m.launch(tiling.launch(KERNELS, named::<T>("pixel_spread"), s.n * splits, args)?)
}

/// The mean over the pixels of each image, streams added: `[N, P, streams F]` to f32 `[N, F]`.
///
/// # Errors
/// When memory is short.
pub fn mean(gpu: &Gpu, x: &Tensor, s: Streams) -> Result<Tensor> {
    let (out, to) = gpu.new_tensor::<f32>((s.n, s.f))?;
    by_element!(x, T => launch_mean(gpu, s, at::<T>(x)?, to))?;
    Ok(out)
}

/// The gradient of [`mean`], of this shape and dtype.
///
/// # Errors
/// When memory is short.
pub fn mean_gradient(gpu: &Gpu, dy: &Tensor, s: Streams, (shape, dtype): (&Shape, DType)) -> Result<Tensor> {
    fn run<T: Number>(gpu: &Gpu, dy: &Tensor, s: Streams, shape: &Shape) -> Result<Tensor> {
        let (dx, to) = gpu.new_tensor::<T>(shape)?;
        launch_mean_gradient(gpu, s, at(dy)?, to)?;
        Ok(dx)
    }
    match dtype {
        DType::BF16 => run::<bf16>(gpu, dy, s, shape),
        _ => run::<f32>(gpu, dy, s, shape),
    }
}
