//! ReLU on the CPU.

use crate::simd::{self, Element, Kernel, Wide, wide};
use crate::tensor::access::{by_element, update_elements_with, with_elements};
use crate::tensor::{filled, from_vec};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Elements that one task handles.
const CHUNK: usize = 1 << 15;

/// `max(x + residual, 0)`.
struct AddRelu<'a, T> {
    x: &'a [T],
    residual: Option<&'a [T]>,
    out: &'a mut [T],
}

impl<T: Element> Kernel for AddRelu<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let (zero, period) = (S::splat(0.0), self.out.len());
        match self.residual {
            None => {
                simd::map::<S, T, 1>(
                    [self.x],
                    self.out,
                    period,
                    #[inline(always)]
                    |_, [x]| x.at_least(zero),
                );
            }
            Some(r) => simd::map::<S, T, 2>(
                [self.x, r],
                self.out,
                period,
                #[inline(always)]
                |_, [x, r]| x.plus(r).at_least(zero),
            ),
        }
    }
}

struct Mask<'a, T>(&'a [T], &'a mut [T]);

impl<T: Element> Kernel for Mask<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let period = self.1.len();
        simd::update::<S, T, 1>(
            [self.0],
            self.1,
            period,
            #[inline(always)]
            |_, g, [y]| g.where_positive(y),
        );
    }
}

/// Sets `dy` to zero where `y`, the output of a ReLU, is not positive.
fn clear<T: Element>(y: &[T], dy: &mut [T]) {
    dy.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(dy, y)| wide(Mask(y, dy)));
}

/// `max(x + residual, 0)`; the residual is optional.
///
/// # Errors
/// When a tensor is not contiguous, or of another dtype.
pub fn add_relu(x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
    let shape = x.shape();
    by_element!(x, T => with_elements::<T, _>(x, |x| {
        let sum = |r: Option<&[T]>| {
            filled(x.len(), |out| {
                out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate().for_each(|(i, (out, x))| {
                    wide(AddRelu { x, residual: r.map(|r| &r[i * CHUNK..][..x.len()]), out });
                })
            })
        };
        match residual {
            Some(r) => with_elements(r, |r| from_vec(sum(Some(r)), shape)),
            None => from_vec(sum(None), shape),
        }
    }))
}

/// Sets `dy` to zero where `y`, the output of a ReLU, is not positive; in place.
///
/// # Errors
/// When a tensor is not contiguous, or of another dtype.
pub fn mask(y: &Tensor, dy: &Tensor) -> Result<()> {
    by_element!(dy, T => update_elements_with(dy, y, |dy: &mut [T], y: &[T]| clear(y, dy)))
}
