//! Biases on a GPU, by the kernels of `kernel.cu`.

use crate::gpu::machine::{At, Kernels, Launch, Machine, args, count, kernels, packs};
use crate::gpu::{Gpu, at};
use candle_core::{Result, Tensor};

const KERNELS: Kernels = kernels!("linear");

/// Adds `bias` `[O]` to every row of `out` `[rows, O]`.
pub fn launch_add_bias<M: Machine>(m: &M, out: At<f32>, (rows, o): (usize, usize), bias: At<f32>) -> Result<()> {
    let (packs, wide) = packs(rows * o, o, &[out, bias])?;
    m.launch(Launch::items(KERNELS, "add_bias", packs as usize, args![out, bias, packs / rows as u32, packs, wide])?)
}

/// The sums of the columns of `x` `[rows, c]`.
pub fn launch_sum_rows<M: Machine>(m: &M, x: At<f32>, (rows, c): (usize, usize)) -> Result<M::Memory<f32>> {
    count(rows * c)?;
    let out = m.room::<f32>(c)?;
    m.launch(Launch::merge(KERNELS, "sum_rows", c, args![x, rows as u32, c as u32, m.at(&out)])?)?;
    Ok(out)
}

/// Adds `bias` `[O]` to every row of `out` `[R, O]`, in place.
///
/// # Errors
/// When the two are on different devices.
pub fn add_bias(gpu: &Gpu, out: &Tensor, bias: &Tensor) -> Result<()> {
    launch_add_bias(gpu, at(out)?, out.dims2()?, at(bias)?)
}

/// The sums of the columns of `[R, O]`: the gradient of a bias.
///
/// # Errors
/// When memory is short.
pub fn sum_rows(gpu: &Gpu, dy: &Tensor) -> Result<Tensor> {
    let (rows, o) = dy.dims2()?;
    Ok(gpu.tensor(launch_sum_rows(gpu, at(dy)?, (rows, o))?, o))
}
