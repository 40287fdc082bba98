//! What the optimisers share on the CPU: sums of squares, and loops over numbers.

use crate::simd::vectorized;
use crate::tensor::{update_with, with_slice};
use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

/// Elements that one task handles; fixed, so that sums do not depend on the number of threads.
pub const CHUNK: usize = 1 << 14;
/// The same, where one list is read.
const LONG_CHUNK: usize = 1 << 15;

/// Sums of the squares of `K` numbers for each of `len` elements, by tasks of `size`; `f(i)` gives those of element `i`.
pub fn squares<const K: usize>(len: usize, size: usize, f: impl Fn(usize) -> [f32; K] + Sync) -> [f64; K] {
    let chunk = |start: usize| {
        vectorized(
            #[inline(always)]
            || {
                let mut sums = [[0.0f64; 8]; K];
                for i in start..(start + size).min(len) {
                    for (sums, value) in sums.iter_mut().zip(f(i)) {
                        sums[i % 8] += f64::from(value) * f64::from(value);
                    }
                }
                sums.map(|s| s.iter().sum::<f64>())
            },
        )
    };
    let parts: Vec<[f64; K]> = (0..len.div_ceil(size)).into_par_iter().map(|i| chunk(i * size)).collect();
    parts.into_iter().fold([0.0; K], |sum, part| std::array::from_fn(|k| sum[k] + part[k]))
}

/// `f(changed, a, b)` for each element of three equally long lists, on all threads.
pub fn change(data: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(&mut f32, f32, f32) + Sync) {
    data.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((data, a), b)| {
        vectorized(
            #[inline(always)]
            || data.iter_mut().zip(a).zip(b).for_each(|((d, a), b)| f(d, *a, *b)),
        )
    });
}

/// Adds `factor` times the weights to the gradients, `(gradient, weight)`, in place.
///
/// # Errors
/// When a tensor is no contiguous f32 tensor on the CPU.
pub fn decay(pairs: &[(&Tensor, &Tensor)], factor: f32) -> Result<()> {
    pairs.iter().try_for_each(|(gradient, weight)| {
        update_with(gradient, weight, |g, w| change(g, w, w, |g, w, _| *g += factor * w))
    })
}

/// Numbers rounded to bf16.
///
/// # Errors
/// When candle cannot convert a tensor.
pub fn round(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
    tensors.iter().map(|t| t.to_dtype(DType::BF16)).collect()
}

/// The sum of the squares of all numbers: an f64 scalar.
///
/// # Errors
/// When a tensor is no contiguous f32 tensor on the CPU.
pub fn sum_of_squares(tensors: &[&Tensor]) -> Result<Tensor> {
    let each = each_squared(tensors)?;
    Tensor::new(each.iter().fold(0.0, |all, sum| all + sum), &Device::Cpu)
}

/// The sum of the squares of each tensor's numbers: f64.
///
/// # Errors
/// When a tensor is no contiguous f32 tensor on the CPU.
pub fn squares_of_each(tensors: &[&Tensor]) -> Result<Tensor> {
    Tensor::new(each_squared(tensors)?, &Device::Cpu)
}

fn each_squared(tensors: &[&Tensor]) -> Result<Vec<f64>> {
    let sum = |tensor: &&Tensor| {
        with_slice(tensor, |values| {
            let [sum] = squares(values.len(), LONG_CHUNK, |i| [values[i]]);
            Ok(sum)
        })
    };
    tensors.iter().map(sum).collect()
}

/// `to` takes over the numbers of `from`.
///
/// # Errors
/// When a tensor is no contiguous f32 tensor on the CPU.
pub fn assign(to: &Tensor, from: &Tensor) -> Result<()> {
    update_with(to, from, |to, from| to.copy_from_slice(from))
}
