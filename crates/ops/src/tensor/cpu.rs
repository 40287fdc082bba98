//! Sums of tensors on the CPU.

use super::access::{by_element, update, update_elements_with};
use crate::simd::{self, Element, Kernel, Wide};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Elements that one task of an element-wise loop handles.
const CHUNK: usize = 1 << 15;

struct Sum<'a, T>(&'a mut [T], &'a [T]);

impl<T: Element> Kernel for Sum<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let period = self.0.len();
        simd::update::<S, T, 1>(
            [self.1],
            self.0,
            period,
            #[inline(always)]
            |_, sum, [term]| sum.plus(term),
        );
    }
}

/// `sum += term`, multi-threaded, in place.
///
/// # Errors
/// When a tensor is not contiguous, or of another dtype.
pub fn add_assign(sum: &Tensor, term: &Tensor) -> Result<()> {
    by_element!(sum, T => update_elements_with::<T, _>(sum, term, |a, b| {
        a.par_chunks_mut(CHUNK).zip(b.par_chunks(CHUNK)).for_each(|(a, b)| simd::wide(Sum(a, b)));
    }))
}

/// Every number of `values` times the one number `factor`, in place.
///
/// # Errors
/// When a tensor is not f32, or `factor` not a scalar.
pub fn scale_by(values: &Tensor, factor: &Tensor) -> Result<()> {
    let factor = factor.to_scalar::<f32>()?;
    update(values, |values| values.iter_mut().for_each(|v| *v *= factor))
}
