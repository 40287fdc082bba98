//! Convolution by cuDNN, channels last: forward, gradient of the input, gradient of the weights.
//!
//! What computes a convolution is chosen when it is first asked for (`choose`), among what the graphs of cuDNN (`graph`) and
//! the interface before them (`legacy`) have that is deterministic and needs no more workspace than is allowed. Where maps
//! have too many elements, or nothing does with that workspace, the images go in parts.

mod choose;
mod cudnn;
mod graph;
mod handle;
mod legacy;
mod problem;
#[cfg(test)]
mod tests;
mod times;

use super::geometry::Geometry;
use super::map::Map;
use crate::gpu::machine::Number;
use crate::gpu::{Gpu, at};
use crate::tensor::access::by_element;
use crate::tensor::gpu::add_assign;
use candle_core::{DType, Result, Tensor};
use cudnn::Library;
use problem::{Direction, Operands};
pub use times::times;

/// The convolution of `x` with `weight` (f32 `[O, K, K, C]`), `[N, OH, OW, O]`; no moments come back.
///
/// # Errors
/// When cuDNN has none for this shape, or memory is short.
pub fn forward(gpu: &Gpu, g: &Geometry, x: &Map, weight: &Tensor, _: bool) -> Result<(Tensor, Option<[Tensor; 2]>)> {
    let x = &x.tensor;
    by_element!(x, T => Ok((convolution::<T>(gpu, g, x, weight)?, None)))
}

/// The gradient of the input, `[N, H, W, C]`: added to `sum` where there is one, which nobody else may hold.
///
/// # Errors
/// As [`forward`].
pub fn input_gradient(gpu: &Gpu, g: &Geometry, dy: &Tensor, weight: &Tensor, sum: Option<Tensor>) -> Result<Tensor> {
    by_element!(dy, T => backward_data::<T>(gpu, g, dy, weight, sum))
}

/// The gradient of the weights, f32 `[O, K, K, C]`. From maps of bf16 it is rounded to bf16 once, after its sums in f32.
///
/// # Errors
/// As [`forward`].
pub fn weight_gradient(gpu: &Gpu, g: &Geometry, x: &Map, dy: &Tensor) -> Result<Tensor> {
    let x = &x.tensor;
    by_element!(x, T => backward_filter::<T>(gpu, g, x, dy))
}

/// Weights as maps store their numbers.
fn as_maps(weight: &Tensor, dtype: DType) -> Result<Tensor> {
    if weight.dtype() == dtype { Ok(weight.clone()) } else { weight.to_dtype(dtype) }
}

fn convolution<T: Number>(gpu: &Gpu, g: &Geometry, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (library, weight) = (Library::of(gpu)?, as_maps(weight, T::DTYPE)?);
    let (out, to) = gpu.new_tensor::<T>((g.n, g.oh, g.ow, g.o))?;
    let operands = Operands { x: at::<T>(x)?.0, w: at::<T>(&weight)?.0, y: to.0 };
    library.compute::<T>(Direction::Forward, g, operands)?;
    Ok(out)
}

fn backward_data<T: Number>(
    gpu: &Gpu,
    g: &Geometry,
    dy: &Tensor,
    weight: &Tensor,
    sum: Option<Tensor>,
) -> Result<Tensor> {
    let (library, weight) = (Library::of(gpu)?, as_maps(weight, T::DTYPE)?);
    let (direction, out) = match sum {
        Some(sum) => (Direction::DataSum, sum),
        None => (Direction::Data, gpu.new_tensor::<T>((g.n, g.h, g.w, g.c))?.0),
    };
    let operands = Operands { x: at::<T>(&out)?.0, w: at::<T>(&weight)?.0, y: at::<T>(dy)?.0 };
    library.compute::<T>(direction, g, operands)?;
    Ok(out)
}

fn backward_filter<T: Number>(gpu: &Gpu, g: &Geometry, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let library = Library::of(gpu)?;
    let (out, to) = gpu.new_tensor::<T>((g.o, g.k, g.k, g.c))?;
    let operands = Operands { x: at::<T>(x)?.0, w: to.0, y: at::<T>(dy)?.0 };
    let parts = library.parts::<T>(Direction::Filter, g, operands)?;
    let mut sum: Option<Tensor> = None;
    for part in parts.iter() {
        // Each part is rounded as the whole would be, and widened before it is added.
        library.run(part, operands.from(g, part.start, size_of::<T>()))?;
        let widened = as_maps(&out, DType::F32)?;
        sum = match sum {
            None if parts.len() > 1 && T::DTYPE == DType::F32 => Some(widened.copy()?),
            None => Some(widened),
            Some(sum) => {
                add_assign(gpu, &sum, &widened)?;
                Some(sum)
            }
        };
    }
    Ok(sum.unwrap_or(out))
}
