//! Sums of tensors and pixels that came as bytes on a GPU, by the kernels of `kernel.cu`.

use super::access::by_element;
use crate::gpu::machine::{At, Kernels, Launch, Machine, Number, args, count, kernels, named, packs};
use crate::gpu::{Gpu, at};
use candle_core::{Result, Tensor};

const KERNELS: Kernels = kernels!("tensor");

/// `sum += term`, of `len` numbers each.
pub fn launch_add_assign<M: Machine, T: Number>(m: &M, len: usize, sum: At<T>, term: At<T>) -> Result<()> {
    let (packs, wide) = packs(len, len, &[sum, term])?;
    m.launch(Launch::items(KERNELS, named::<T>("add_assign"), packs as usize, args![sum, term, packs, wide])?)
}

/// Every one of `len` numbers times the one at `factor`.
pub fn launch_scale_by<M: Machine>(m: &M, values: At<f32>, len: usize, factor: At<f32>) -> Result<()> {
    m.launch(Launch::items(KERNELS, "scale_by", len, args![values, factor, count(len)?])?)
}

/// The sum of `len` numbers times `factor`.
pub fn total<M: Machine>(m: &M, values: At<f64>, len: usize, factor: f64) -> Result<M::Memory<f32>> {
    let out = m.room::<f32>(1)?;
    m.launch(Launch::rows(KERNELS, "total", 1, args![values, len as i64, factor, m.at(&out)])?)?;
    Ok(out)
}

/// `len` bytes times 1 / 255 to `out`.
pub fn launch_scale_bytes<M: Machine, T: Number>(m: &M, len: usize, bytes: At<u8>, out: At<T>) -> Result<()> {
    // Wide where the bytes of a pack stand together, too.
    let aligned = bytes.0.is_multiple_of(T::LANES as u64);
    let (packs, wide) = packs::<T>(len, if aligned { len } else { 1 }, &[out])?;
    m.launch(Launch::items(KERNELS, named::<T>("scale_bytes"), packs as usize, args![bytes, out, packs, wide])?)
}

/// `sum += term`, in place.
///
/// # Errors
/// When the two are on different devices.
pub fn add_assign(gpu: &Gpu, sum: &Tensor, term: &Tensor) -> Result<()> {
    by_element!(sum, T => launch_add_assign(gpu, sum.elem_count(), at::<T>(sum)?, at::<T>(term)?))
}

/// Every number of `values` times the one number `factor`, in place.
///
/// # Errors
/// When the two are on different devices.
pub fn scale_by(gpu: &Gpu, values: &Tensor, factor: &Tensor) -> Result<()> {
    launch_scale_by(gpu, at(values)?, values.elem_count(), at(factor)?)
}

/// Bytes times 1 / 255.
///
/// # Errors
/// When memory is short.
pub fn scale_bytes<T: Number>(gpu: &Gpu, bytes: &Tensor) -> Result<Tensor> {
    let (out, to) = gpu.new_tensor::<T>(bytes.shape())?;
    launch_scale_bytes(gpu, bytes.elem_count(), at(bytes)?, to)?;
    Ok(out)
}
