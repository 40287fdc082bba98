//! ReLU on a GPU, by the kernels of `kernel.cu`.

use crate::gpu::machine::{At, Kernels, Launch, Machine, Number, args, count, kernels, named};
use crate::gpu::{Gpu, at};
use crate::tensor::access::by_element;
use candle_core::{Result, Tensor};

const KERNELS: Kernels = kernels!("relu");

/// `max(x + residual, 0)` to `out`, `len` numbers each; the residual is optional.
pub fn launch_add_relu<M: Machine, T: Number>(
    m: &M,
    len: usize,
    x: At<T>,
    residual: Option<At<T>>,
    out: At<T>,
) -> Result<()> {
    let args = args![x, residual.unwrap_or(At::none()), out, count(len)?];
    m.launch(Launch::items(KERNELS, named::<T>("add_relu"), len, args)?)
}

/// Sets `dy` to zero where `y`, the output of a ReLU, is not positive.
pub fn launch_mask<M: Machine, T: Number>(m: &M, len: usize, y: At<T>, dy: At<T>) -> Result<()> {
    m.launch(Launch::items(KERNELS, named::<T>("relu_mask"), len, args![y, dy, count(len)?])?)
}

/// `max(x + residual, 0)`; the residual is optional.
///
/// # Errors
/// When memory is short.
pub fn add_relu(gpu: &Gpu, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
    by_element!(x, T => {
        let (out, to) = gpu.new_tensor::<T>(x.shape())?;
        launch_add_relu(gpu, x.elem_count(), at::<T>(x)?, residual.map(at).transpose()?, to)?;
        Ok(out)
    })
}

/// Sets `dy` to zero where `y`, the output of a ReLU, is not positive; in place.
///
/// # Errors
/// When the two are on different devices.
pub fn mask(gpu: &Gpu, y: &Tensor, dy: &Tensor) -> Result<()> {
    by_element!(dy, T => launch_mask(gpu, dy.elem_count(), at::<T>(y)?, at::<T>(dy)?))
}
