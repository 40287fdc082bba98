//! Loops over maps, a vector at a time: new maps, changes in place, and sums.
//!
//! Inner loops run over one period of channels after another (see [`super::channels`]). They and the closures that they
//! call must be inlined into a kernel of [`super::vector`]: compiled apart they would lack its instructions.

#![allow(unsafe_code)]

use super::element::Element;
use super::vector::{LANES, Wide};

/// Calls `f(column, inputs)` with vectors of `I` slices of one length and stores the `M` results in `outputs`, which may
/// be `None`. Columns count vectors within a period of `period` elements. The last vector may be a part: what lies past
/// the end is read as zero and not stored.
///
/// # Panics
/// When slices have different lengths.
#[inline(always)]
pub fn map<S: Wide, T: Element, const I: usize>(
    inputs: [&[T]; I],
    out: &mut [T],
    period: usize,
    mut f: impl FnMut(usize, [S; I]) -> S,
) {
    let len = out.len();
    assert!(inputs.iter().all(|x| x.len() == len), "map: slices of different lengths");
    let mut start = 0;
    while start < len {
        let end = (start + period).min(len);
        let mut at = start;
        while at + LANES <= end {
            // SAFETY: sixteen elements from `at` on lie below `end`, within all slices.
            unsafe {
                let vectors = load_all::<S, T, I>(&inputs, at);
                T::store(f(at - start, vectors), out.as_mut_ptr().add(at));
            }
            at += LANES;
        }
        if at < end {
            let vectors = part_of_all::<S, T, I>(&inputs, at, end);
            let mut whole = [T::of_f32(0.0); LANES];
            // SAFETY: the array holds sixteen elements.
            unsafe { T::store(f(at - start, vectors), whole.as_mut_ptr()) };
            out[at..end].copy_from_slice(&whole[..end - at]);
        }
        start = end;
    }
}

/// As [`map`], changing `data` in place.
#[inline(always)]
pub fn update<S: Wide, T: Element, const I: usize>(
    inputs: [&[T]; I],
    data: &mut [T],
    period: usize,
    mut f: impl FnMut(usize, S, [S; I]) -> S,
) {
    let len = data.len();
    assert!(inputs.iter().all(|x| x.len() == len), "update: slices of different lengths");
    let mut start = 0;
    while start < len {
        let end = (start + period).min(len);
        let mut at = start;
        while at + LANES <= end {
            // SAFETY: sixteen elements from `at` on lie below `end`, within all slices.
            unsafe {
                let vectors = load_all::<S, T, I>(&inputs, at);
                let to = data.as_mut_ptr().add(at);
                T::store(f(at - start, T::load(to), vectors), to);
            }
            at += LANES;
        }
        if at < end {
            let vectors = part_of_all::<S, T, I>(&inputs, at, end);
            let mut whole = [T::of_f32(0.0); LANES];
            // SAFETY: the array holds sixteen elements.
            unsafe { T::store(f(at - start, part(&data[at..end]), vectors), whole.as_mut_ptr()) };
            data[at..end].copy_from_slice(&whole[..end - at]);
        }
        start = end;
    }
}

// Loops, not `array::map`, whose closures are compiled apart and then lack the vector instructions.

/// # Safety
/// Sixteen elements can be read at `at` in each input.
#[inline(always)]
unsafe fn load_all<S: Wide, T: Element, const I: usize>(inputs: &[&[T]; I], at: usize) -> [S; I] {
    let mut vectors = [S::splat(0.0); I];
    for (vector, input) in vectors.iter_mut().zip(inputs) {
        // SAFETY: sixteen elements can be read at `at` in each input, as this function's contract says.
        *vector = unsafe { T::load(input.as_ptr().add(at)) };
    }
    vectors
}

#[inline(always)]
fn part_of_all<S: Wide, T: Element, const I: usize>(inputs: &[&[T]; I], at: usize, end: usize) -> [S; I] {
    let mut vectors = [S::splat(0.0); I];
    for (vector, input) in vectors.iter_mut().zip(inputs) {
        *vector = part(&input[at..end]);
    }
    vectors
}

/// A vector of fewer than sixteen elements, then zeros.
#[inline(always)]
fn part<S: Wide, T: Element>(values: &[T]) -> S {
    let mut whole = [T::of_f32(0.0); LANES];
    whole[..values.len()].copy_from_slice(values);
    // SAFETY: the array holds sixteen elements.
    unsafe { T::load(whole.as_ptr()) }
}

/// The vector of coefficients from `column` on.
#[inline(always)]
pub fn at<S: Wide>(values: &[f32], column: usize) -> S {
    assert!(column + LANES <= values.len(), "coefficients end before a vector from {column} on");
    // SAFETY: sixteen numbers from `column` on lie in `values`, by the assertion.
    unsafe { S::load(values.as_ptr().add(column)) }
}

/// One value a channel, zero up to a whole vector, so that vectors of coefficients can be read to the end.
pub fn padded(values: &[f32]) -> Vec<f32> {
    let mut values = values.to_vec();
    values.resize(values.len().div_ceil(LANES) * LANES, 0.0);
    values
}

/// Adds `f(column, inputs)`, `M` vectors of summands, to `M` rows of sums, each a period long.
///
/// # Panics
/// When slices have different lengths or sums are shorter than a period.
#[inline(always)]
pub fn sums<S: Wide, T: Element, const I: usize, const M: usize>(
    inputs: [&[T]; I],
    period: usize,
    mut sums: [&mut [f32]; M],
    f: impl Fn(usize, [S; I]) -> [S; M],
) {
    let len = inputs[0].len();
    assert!(inputs.iter().all(|x| x.len() == len), "sums: slices of different lengths");
    assert!(sums.iter().all(|s| s.len() >= period), "sums: shorter than a period");
    let mut start = 0;
    while start < len {
        let end = (start + period).min(len);
        let mut at = start;
        while at + LANES <= end {
            // SAFETY: sixteen elements from `at` on lie below `end`, within all slices and within a period of sums.
            unsafe {
                let terms = f(at - start, load_all::<S, T, I>(&inputs, at));
                for (sums, term) in sums.iter_mut().zip(terms) {
                    let to = sums.as_mut_ptr().add(at - start);
                    S::load(to).plus(term).store(to);
                }
            }
            at += LANES;
        }
        if at < end {
            let terms = f(at - start, part_of_all::<S, T, I>(&inputs, at, end));
            for (sums, term) in sums.iter_mut().zip(terms) {
                let mut whole = [0.0; LANES];
                // SAFETY: the array holds sixteen floats.
                unsafe { term.store(whole.as_mut_ptr()) };
                sums[at - start..end - start].iter_mut().zip(whole).for_each(|(s, t)| *s += t);
            }
        }
        start = end;
    }
}
