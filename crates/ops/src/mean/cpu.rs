//! Means over pixels on the CPU.

use super::streams::Streams;
use crate::simd::channels::Columns;
use crate::simd::{self, Element, Kernel, Wide, wide};
use crate::tensor::access::{by_element, with_elements};
use crate::tensor::{filled, from_vec, with_slice};
use candle_core::{DType, Result, Shape, Tensor};
use rayon::prelude::*;

/// The mean over the pixels of each image, streams added: `[N, P, streams F]` to f32 `[N, F]`.
///
/// # Errors
/// When `x` is not contiguous, or of another dtype.
pub fn mean(x: &Tensor, s: Streams) -> Result<Tensor> {
    let c = s.streams * s.f;
    let all = by_element!(x, T => with_elements::<T, _>(x, |x| Ok(means(x, (s.n, s.pixels, c)))))?;
    if s.streams == 1 {
        return from_vec(all, (s.n, s.f));
    }
    let added = |all: &[f32], j: usize| (1..s.streams).fold(all[j], |sum, stream| sum + all[stream * s.f + j]);
    let out = all.chunks_exact(c).flat_map(|all| (0..s.f).map(move |j| added(all, j))).collect::<Vec<_>>();
    from_vec(out, (s.n, s.f))
}

/// The gradient of [`mean`], of this shape and dtype.
///
/// # Errors
/// When `dy` is no contiguous f32 tensor on the CPU.
pub fn mean_gradient(dy: &Tensor, s: Streams, (shape, dtype): (&Shape, DType)) -> Result<Tensor> {
    let share = 1.0 / s.pixels as f32;
    with_slice(dy, |dy| {
        let row = |i: usize| dy[i * s.f..][..s.f].iter().map(|g| g * share).collect::<Vec<_>>().repeat(s.streams);
        spread(dtype, (s.n, s.pixels, s.streams * s.f), row)?.reshape(shape)
    })
}

/// The mean over the pixels of each image: `[N, P, C]` to `[N, C]`.
fn means<T: Element>(x: &[T], (n, p, c): (usize, usize, usize)) -> Vec<f32> {
    filled(n * c, |out| {
        out.par_chunks_mut(c).zip(x.par_chunks(p * c)).for_each(|(out, x)| {
            let columns = Columns::new(c);
            let mut sums = vec![0.0; columns.period];
            wide(Sums(x, &mut sums));
            out.iter_mut().zip(columns.fold(&sums)).for_each(|(o, s)| *o = s / p as f32);
        })
    })
}

struct Sums<'a, T>(&'a [T], &'a mut [f32]);

impl<T: Element> Kernel for Sums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let period = self.1.len();
        simd::sums::<S, T, 1, 1>(
            [self.0],
            period,
            [self.1],
            #[inline(always)]
            |_, [x]| [x],
        );
    }
}

/// Every pixel of image `i` the same: `[N, P, C]` of `row(i)`.
fn spread(dtype: DType, (n, p, c): (usize, usize, usize), row: impl Fn(usize) -> Vec<f32> + Sync) -> Result<Tensor> {
    fn fill<T: Element>(n: usize, size: usize, row: impl Fn(usize) -> Vec<f32> + Sync) -> Vec<T> {
        filled(n * size, |out| {
            out.par_chunks_mut(size).enumerate().for_each(|(i, out)| {
                let row: Vec<T> = row(i).into_iter().map(T::of_f32).collect();
                out.chunks_exact_mut(row.len()).for_each(|out| out.copy_from_slice(&row));
            })
        })
    }
    match dtype {
        DType::BF16 => from_vec(fill::<half::bf16>(n, p * c, row), (n, p, c)),
        _ => from_vec(fill::<f32>(n, p * c, row), (n, p, c)),
    }
}
