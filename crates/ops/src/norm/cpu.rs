//! Batch normalisation over rows of `[R, C]`, fused with a residual add and ReLU.
//!
//! Statistics: each task takes the mean and the centred squares of its rows while they are in L2 (no E[x^2] - E[x]^2,
//! which loses digits), and the tasks' results are merged in `f64` in a fixed order.

use super::ranks::{self, Batch};
use crate::simd::channels::Columns;
use crate::simd::{self, Element, Kernel, Wide, at, wide};
use crate::tensor::access::{by_element, update_elements_with, with_elements};
use crate::tensor::{filled, from_vec, update_with, with_slice};
use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

/// Rows of a piece of the input, its mean, and its centred squares.
pub type Part = (f64, Vec<f32>, Vec<f32>);

struct PartOf<'a, T>(&'a [T], Columns);

impl<T: Element> Kernel for PartOf<'_, T> {
    type Output = Part;
    #[inline(always)]
    fn run<S: Wide>(self) -> Part {
        let Self(x, columns) = self;
        let n = (x.len() / columns.channels) as f32;
        let mut sum = vec![0.0; columns.period];
        simd::sums::<S, T, 1, 1>(
            [x],
            columns.period,
            [&mut sum],
            #[inline(always)]
            |_, [x]| [x],
        );
        let mean: Vec<f32> = columns.fold(&sum).iter().map(|s| s / n).collect();
        let centre = columns.repeat(&mean);
        sum.fill(0.0);
        simd::sums::<S, T, 1, 1>(
            [x],
            columns.period,
            [&mut sum],
            #[inline(always)]
            |column, [x]| {
                let d = x.minus(at(&centre, column));
                [d.times(d)]
            },
        );
        (n as f64, mean, columns.fold(&sum))
    }
}

/// What one piece `[R, C]` adds to the moments.
pub fn part<T: Element>(x: &[T], c: usize) -> Part {
    wide(PartOf(x, Columns::new(c)))
}

/// The parts of `x` `[R, C]`, in order.
pub fn parts<T: Element>(x: &[T], c: usize) -> Vec<Part> {
    x.par_chunks(Columns::new(c).chunk()).map(|x| part(x, c)).collect()
}

/// Mean and biased variance of each channel, of what the parts cover together.
pub fn merged(parts: &[Part]) -> [Vec<f32>; 2] {
    let rows: f64 = parts.iter().map(|p| p.0).sum();
    let one = |j: usize| {
        let mean = parts.iter().map(|(n, m, _)| n * m[j] as f64).sum::<f64>() / rows;
        let squares: f64 = parts.iter().map(|(n, m, s)| s[j] as f64 + n * (m[j] as f64 - mean).powi(2)).sum();
        (mean as f32, (squares / rows) as f32)
    };
    let (mean, var) = (0..parts.first().map_or(0, |p| p.1.len())).map(one).unzip();
    [mean, var]
}

/// What normalises: `y = (x - mean) * inv * gamma + beta`, one value a channel, repeated to a period.
#[derive(Debug)]
pub struct Affine {
    columns: Columns,
    mean: Vec<f32>,
    inv: Vec<f32>,
    scale: Vec<f32>,
    beta: Vec<f32>,
}

/// `floor` or more of the normalised `x`, plus a residual where there is one.
struct Forward<'a, T> {
    affine: &'a Affine,
    x: &'a [T],
    residual: Option<&'a [T]>,
    floor: f32,
    out: &'a mut [T],
}

impl<T: Element> Kernel for Forward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let (a, floor, period) = (self.affine, S::splat(self.floor), self.affine.columns.period);
        match self.residual {
            None => simd::map::<S, T, 1>(
                [self.x],
                self.out,
                period,
                #[inline(always)]
                |column, [x]| a.normalised(column, x).at_least(floor),
            ),
            Some(r) => simd::map::<S, T, 2>(
                [self.x, r],
                self.out,
                period,
                #[inline(always)]
                |column, [x, r]| a.normalised(column, x).plus(r).at_least(floor),
            ),
        }
    }
}

/// Sums for the backward pass; see [`Affine::gradient_sums`].
struct GradientSums<'a, T> {
    affine: &'a Affine,
    x: &'a [T],
    y: Option<&'a [T]>,
    dy: &'a mut [T],
    relu: bool,
}

impl<T: Element> Kernel for GradientSums<'_, T> {
    type Output = [Vec<f32>; 2];
    #[inline(always)]
    fn run<S: Wide>(self) -> [Vec<f32>; 2] {
        let (a, period) = (self.affine, self.affine.columns.period);
        if let Some(y) = self.y {
            simd::update::<S, T, 1>(
                [y],
                self.dy,
                period,
                #[inline(always)]
                |_, g, [y]| g.where_positive(y),
            );
        }
        let (mut sum, mut centred) = (vec![0.0; period], vec![0.0; period]);
        let relu = self.relu && self.y.is_none();
        simd::sums::<S, T, 2, 2>(
            [self.x, self.dy],
            period,
            [&mut sum, &mut centred],
            #[inline(always)]
            |column, [x, g]| {
                let d = x.minus(at(&a.mean, column));
                let gate = d.times_plus(at(&a.scale, column), at(&a.beta, column));
                let g = if relu { g.where_positive(gate) } else { g };
                [g, g.times(d)]
            },
        );
        [a.columns.fold(&sum), a.columns.fold(&centred)]
    }
}

/// The gradient of `x` from that of the output, in `dx` or over `dy`.
struct Backward<'a, T> {
    affine: &'a Affine,
    x: &'a [T],
    dy: &'a mut [T],
    dx: Option<&'a mut [T]>,
    relu: bool,
    mean_g: &'a [f32],
    slope: &'a [f32],
}

impl<T: Element> Kernel for Backward<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let (a, period, relu) = (self.affine, self.affine.columns.period, self.relu);
        let (mean_g, slope) = (self.mean_g, self.slope);
        match self.dx {
            Some(dx) => simd::map::<S, T, 2>(
                [self.x, self.dy],
                dx,
                period,
                #[inline(always)]
                |column, [x, g]| a.gradient(column, x, g, relu, mean_g, slope),
            ),
            None => simd::update::<S, T, 1>(
                [self.x],
                self.dy,
                period,
                #[inline(always)]
                |column, g, [x]| a.gradient(column, x, g, relu, mean_g, slope),
            ),
        }
    }
}

/// The gradient of the input, where it has a memory of its own, and those of gamma and beta.
type Found<T> = (Option<Vec<T>>, [Vec<f32>; 2]);

impl Affine {
    #[inline(always)]
    fn normalised<S: Wide>(&self, column: usize, x: S) -> S {
        x.minus(at(&self.mean, column)).times_plus(at(&self.scale, column), at(&self.beta, column))
    }

    #[inline(always)]
    fn gradient<S: Wide>(&self, column: usize, x: S, g: S, relu: bool, mean_g: &[f32], slope: &[f32]) -> S {
        let (d, scale) = (x.minus(at(&self.mean, column)), at::<S>(&self.scale, column));
        let g = if relu { g.where_positive(d.times_plus(scale, at(&self.beta, column))) } else { g };
        scale.times(g.minus(at(mean_g, column)).minus(d.times(at(slope, column))))
    }

    fn new([mean, var]: [&[f32]; 2], eps: f32, gamma: Option<&[f32]>, beta: Option<&[f32]>) -> Self {
        let c = mean.len();
        let columns = Columns::new(c);
        let inv: Vec<f32> = var.iter().map(|v| (1.0 / (*v as f64 + eps as f64).sqrt()) as f32).collect();
        let scale: Vec<f32> = inv.iter().enumerate().map(|(j, i)| i * gamma.map_or(1.0, |g| g[j])).collect();
        Self {
            columns,
            mean: columns.repeat(mean),
            inv: columns.repeat(&inv),
            scale: columns.repeat(&scale),
            beta: columns.repeat(beta.unwrap_or(&vec![0.0; c])),
        }
    }

    /// From mean and variance; a missing gamma is 1, a missing beta 0.
    ///
    /// # Errors
    /// When a tensor is no contiguous f32 tensor on the CPU.
    pub fn of([mean, var]: [&Tensor; 2], [gamma, beta]: [Option<&Tensor>; 2], eps: f32) -> Result<Self> {
        let read = |t: &Tensor| with_slice(t, |v| Ok(v.to_vec()));
        let (gamma, beta) = (gamma.map(read).transpose()?, beta.map(read).transpose()?);
        Ok(Self::new([&read(mean)?, &read(var)?], eps, gamma.as_deref(), beta.as_deref()))
    }

    /// `relu(normalised x + residual)`; ReLU and residual are optional.
    pub fn forward<T: Element>(&self, x: &[T], residual: Option<&[T]>, relu: bool) -> Vec<T> {
        let chunk = self.columns.chunk();
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        filled(x.len(), |out| {
            out.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).enumerate().for_each(|(i, (out, x))| {
                let residual = residual.map(|r| &r[i * chunk..][..x.len()]);
                wide(Forward { affine: self, x, residual, floor, out });
            })
        })
    }

    /// `relu(normalised from)` for whole rows, on this thread.
    pub fn apply_relu<T: Element>(&self, from: &[T], to: &mut [T]) {
        wide(Forward { affine: self, x: from, residual: None, floor: 0.0, out: to });
    }

    /// Sums for the backward pass: `[sum of g, sum of g * (x - mean)]` for each channel, `g` being `dy` where ReLU let
    /// through. With `y`, the output of the ReLU, `dy` becomes `g`; else ReLU's mask is found again from `x`.
    fn gradient_sums<T: Element>(&self, x: &[T], y: Option<&[T]>, dy: &mut [T], relu: bool) -> [Vec<f32>; 2] {
        let (chunk, c) = (self.columns.chunk(), self.columns.channels);
        let one = |(i, (x, dy)): (usize, (&[T], &mut [T]))| {
            let y = y.map(|y| &y[i * chunk..][..x.len()]);
            wide(GradientSums { affine: self, x, y, dy, relu })
        };
        let parts: Vec<[Vec<f32>; 2]> =
            x.par_chunks(chunk).zip(dy.par_chunks_mut(chunk)).enumerate().map(one).collect();
        [0, 1].map(|k| (0..c).map(|j| parts.iter().map(|p| p[k][j] as f64).sum::<f64>() as f32).collect())
    }

    /// The gradient of `x`, and those of gamma and beta, from that of the output.
    ///
    /// `y` is the output where a residual was added before a ReLU: `dy` then becomes the gradient of the residual. The
    /// gradient of `x` comes back where `keep`, else it is written over `dy`. `batch` tells how the gradient passes through
    /// moments that came from `x` itself.
    ///
    /// # Errors
    /// When another rank has ended.
    pub fn backward<T: Element>(
        &self,
        x: &[T],
        (y, keep): (Option<&[T]>, bool),
        dy: &mut [T],
        (relu, batch): (bool, Option<&Batch>),
    ) -> Result<Found<T>> {
        let c = self.columns.channels;
        let [sum, centred] = self.gradient_sums(x, y, dy, relu);
        let gamma = centred.iter().zip(&self.inv).map(|(s, inv)| s * inv).collect();
        let own = [gamma, sum.clone()];
        let (share, [sum, centred]) = match batch {
            None => (0.0, [sum, centred]),
            Some(Batch { rows, group }) if group.is_alone() => (1.0 / *rows as f32, [sum, centred]),
            Some(Batch { rows, group }) => (1.0 / *rows as f32, ranks::summed(group, [&sum, &centred])?),
        };
        let mean_g = self.columns.repeat(&sum.iter().map(|s| s * share).collect::<Vec<_>>());
        let slope: Vec<f32> = (0..c).map(|j| centred[j] * share * self.inv[j] * self.inv[j]).collect();
        let (chunk, relu) = (self.columns.chunk(), relu && y.is_none());
        let (mean_g, slope) = (&mean_g, &self.columns.repeat(&slope));
        let affine = self;
        let pieces = x.par_chunks(chunk).zip(dy.par_chunks_mut(chunk));
        let dx = if keep {
            Some(filled(x.len(), |dx| {
                pieces.zip(dx.par_chunks_mut(chunk)).for_each(|((x, dy), dx)| {
                    wide(Backward { affine, x, dy, dx: Some(dx), relu, mean_g, slope });
                })
            }))
        } else {
            pieces.for_each(|(x, dy)| wide(Backward { affine, x, dy, dx: None, relu, mean_g, slope }));
            None
        };
        Ok((dx, own))
    }
}

/// Mean and biased variance of each channel, each `[C]`.
///
/// # Errors
/// When `x` is not contiguous, or of another dtype.
pub fn moments(x: &Tensor) -> Result<[Tensor; 2]> {
    let c = x.dim(D::Minus1)?;
    let [mean, var] = by_element!(x, T => with_elements::<T, _>(x, |x| Ok(merged(&parts(x, c)))))?;
    Ok([from_vec(mean, c)?, from_vec(var, c)?])
}

/// `relu(normalised x + residual)`; ReLU and residual are optional.
///
/// # Errors
/// When a tensor is not contiguous, or of another dtype.
pub fn forward(affine: &Affine, x: &Tensor, residual: Option<&Tensor>, relu: bool) -> Result<Tensor> {
    by_element!(x, T => with_elements::<T, _>(x, |values| match residual {
        Some(r) => with_elements(r, |r| from_vec(affine.forward(values, Some(r), relu), x.shape())),
        None => from_vec(affine.forward(values, None, relu), x.shape()),
    }))
}

/// The gradient of `x`, where `keep`, and those of gamma and beta, as [`Affine::backward`].
///
/// # Errors
/// When a tensor is not contiguous, or of another dtype.
pub fn backward(
    affine: &Affine,
    x: &Tensor,
    (y, keep): (Option<&Tensor>, bool),
    dy: &Tensor,
    flags: (bool, Option<&Batch>),
) -> Result<(Option<Tensor>, [Tensor; 2])> {
    let c = x.dim(D::Minus1)?;
    by_element!(x, T => {
        let (dx, [gamma, beta]) = update_elements_with(dy, x, |dy: &mut [T], x: &[T]| match y {
            Some(y) => with_elements(y, |y| affine.backward(x, (Some(y), keep), dy, flags)),
            None => affine.backward(x, (None, keep), dy, flags),
        })??;
        let dx = dx.map(|dx| from_vec(dx, x.shape())).transpose()?;
        Ok((dx, [from_vec(gamma, c)?, from_vec(beta, c)?]))
    })
}

/// Moves running mean and variance towards the batch's: `keep * running + (1 - keep) * batch`.
///
/// # Errors
/// When one is no contiguous f32 tensor on the CPU.
pub fn blend(running: [&Tensor; 2], batch: [&Tensor; 2], keep: f32) -> Result<()> {
    running.into_iter().zip(batch).try_for_each(|(running, batch)| {
        update_with(running, batch, |running, batch| {
            for (r, b) in running.iter_mut().zip(batch) {
                *r = keep * *r + (1.0 - keep) * b;
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_any_channel_count() {
        for (c, rows) in [(1, 37), (3, 50), (8, 9), (16, 5), (24, 7), (48, 3), (100, 4)] {
            let x: Vec<f32> = (0..c * rows).map(|i| (i * 7 % 23) as f32).collect();
            let [mean, var] = merged(&parts(&x, c));
            for j in 0..c {
                let column = || (0..rows).map(|r| x[r * c + j] as f64);
                let want = column().sum::<f64>() / rows as f64;
                assert!((mean[j] as f64 - want).abs() < 1e-5, "mean of channel {j} of {c}");
                let want = column().map(|v| (v - want).powi(2)).sum::<f64>() / rows as f64;
                assert!((var[j] as f64 - want).abs() < 1e-4, "variance of channel {j} of {c}");
            }
        }
    }
}
