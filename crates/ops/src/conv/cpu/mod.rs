//! Convolution on the CPU, over maps of f32 and bf16.

mod layout;
mod outer;
mod sums;
#[cfg(test)]
mod tests;
mod window;
mod winograd;

use super::geometry::Geometry;
use super::map::Map;
use crate::norm::cpu::merged;
use crate::products::Maps;
use crate::tensor::access::{by_element, update_elements, with_elements};
use crate::tensor::{from_vec, with_slice};
use candle_core::{Result, Tensor};
use window::Source;

fn read<T: Maps, R>(map: &Map, f: impl FnOnce(Source<'_, T>) -> R) -> Result<R> {
    with_elements(&map.tensor, |numbers| Ok(f(Source { map: numbers, affine: map.affine.as_deref() })))
}

/// The convolution of `x` with `weight` (f32 `[O, K, K, C]`), `[N, OH, OW, O]`; and mean and variance of its channels
/// where these are wanted, taken while the output is in cache.
///
/// # Errors
/// When a tensor is not contiguous, or of another dtype.
pub fn forward(g: &Geometry, x: &Map, weight: &Tensor, moments: bool) -> Result<(Tensor, Option<[Tensor; 2]>)> {
    let (out, parts) = by_element!(x.tensor, T => with_slice(weight, |w| {
        let (out, parts) = read::<T, _>(x, |x| sums::forward(g, x, w, moments))?;
        Ok((from_vec(out, (g.n, g.oh, g.ow, g.o))?, parts))
    }))?;
    let moments = match moments {
        true => {
            let [mean, var] = merged(&parts);
            Some([from_vec(mean, g.o)?, from_vec(var, g.o)?])
        }
        false => None,
    };
    Ok((out, moments))
}

/// The gradient of the input, `[N, H, W, C]`: added to `sum` where there is one, which nobody else may hold.
///
/// # Errors
/// As [`forward`].
pub fn input_gradient(g: &Geometry, dy: &Tensor, weight: &Tensor, sum: Option<Tensor>) -> Result<Tensor> {
    by_element!(dy, T => with_slice(weight, |w| with_elements::<T, _>(dy, |dy| match sum {
        Some(sum) => {
            update_elements(&sum, |sum| drop(sums::input_gradient(g, dy, w, Some(sum))))?;
            Ok(sum)
        }
        None => from_vec(sums::input_gradient(g, dy, w, None).unwrap_or_default(), (g.n, g.h, g.w, g.c)),
    })))
}

/// The gradient of the weights, f32 `[O, K, K, C]`.
///
/// # Errors
/// As [`forward`].
pub fn weight_gradient(g: &Geometry, x: &Map, dy: &Tensor) -> Result<Tensor> {
    let dw = by_element!(x.tensor, T => with_elements::<T, _>(dy, |dy| read(x, |x| sums::weight_gradient(g, x, dy))))?;
    from_vec(dw, (g.o, g.k, g.k, g.c))
}
