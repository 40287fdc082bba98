//! Means over pixels on a GPU, by the kernels of `kernel.cu`.

use super::streams::Streams;
use crate::gpu::machine::{At, Kernels, Launch, Machine, Number, args, kernels, named};
use crate::gpu::{Gpu, at};
use crate::tensor::access::by_element;
use candle_core::{DType, Result, Shape, Tensor};
use half::bf16;

const KERNELS: Kernels = kernels!("mean");

/// The mean over the pixels of each image, streams added: `[N, P, streams F]` to f32 `[N, F]`.
pub fn launch_mean<M: Machine, T: Number>(m: &M, s: Streams, x: At<T>, out: At<f32>) -> Result<()> {
    let args = args![x, s.pixels as i64, s.f as i64, s.streams as i32, out];
    m.launch(Launch::tiles(KERNELS, named::<T>("pixel_mean"), (s.f, s.n), args)?)
}

/// The gradient of [`launch_mean`], to `dx`.
pub fn launch_mean_gradient<M: Machine, T: Number>(m: &M, s: Streams, dy: At<f32>, dx: At<T>) -> Result<()> {
    let (items, share) = (s.n * s.pixels * s.f * s.streams, 1.0 / s.pixels as f32);
    let args = args![dy, s.pixels as i64, s.f as i64, s.streams as i32, share, dx, items as i64];
    m.launch(Launch::items(KERNELS, named::<T>("pixel_spread"), items, args)?)
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
