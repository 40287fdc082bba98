//! Batch normalisation over rows of `[R, C]`, fused with a residual add and ReLU.
//!
//! Statistics: each task takes the mean and the centred squares of its rows while they are in L2 (no E[x^2] - E[x]^2,
//! which loses digits), and the tasks' results are merged in `f64` in a fixed order.

use super::channels::{Columns, lanes, vector};
use super::{filled, vectorized};
use rayon::prelude::*;

/// Mean and biased variance of each channel.
#[derive(Clone, Debug)]
pub struct Moments {
    /// One mean a channel.
    pub mean: Vec<f32>,
    /// One variance a channel.
    pub var: Vec<f32>,
}

/// Rows of a piece of the input, its mean, and its centred squares.
pub type Part = (f64, Vec<f32>, Vec<f32>);

/// What one piece `[R, C]` adds to the moments.
pub fn part(x: &[f32], c: usize) -> Part {
    let columns = Columns::new(c);
    vectorized(
        #[inline(always)]
        || {
            let n = (x.len() / c) as f32;
            let [mut mean] = columns.sums([x], |_, [x]| [*x]);
            mean.iter_mut().for_each(|m| *m /= n);
            let centre = columns.repeat(&mean);
            let [squares] = columns.sums(
                [x],
                #[inline(always)]
                |column, [x]| {
                    let m = vector(&centre[column..]);
                    [lanes(|l| (x[l] - m[l]) * (x[l] - m[l]))]
                },
            );
            (n as f64, mean, squares)
        },
    )
}

/// The parts of `x` `[R, C]`, in order.
pub fn parts(x: &[f32], c: usize) -> Vec<Part> {
    x.par_chunks(Columns::new(c).chunk()).map(|x| part(x, c)).collect()
}

/// Moments of what the parts cover together.
pub fn moments(parts: &[Part]) -> Moments {
    let rows: f64 = parts.iter().map(|p| p.0).sum();
    let one = |j: usize| {
        let mean = parts.iter().map(|(n, m, _)| n * m[j] as f64).sum::<f64>() / rows;
        let squares: f64 = parts.iter().map(|(n, m, s)| s[j] as f64 + n * (m[j] as f64 - mean).powi(2)).sum();
        (mean as f32, (squares / rows) as f32)
    };
    let (mean, var) = (0..parts.first().map_or(0, |p| p.1.len())).map(one).unzip();
    Moments { mean, var }
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

impl Affine {
    pub fn new(moments: &Moments, eps: f32, gamma: Option<&[f32]>, beta: Option<&[f32]>) -> Self {
        let c = moments.mean.len();
        let columns = Columns::new(c);
        let inv: Vec<f32> = moments.var.iter().map(|v| (1.0 / (*v as f64 + eps as f64).sqrt()) as f32).collect();
        let scale: Vec<f32> = inv.iter().enumerate().map(|(j, i)| i * gamma.map_or(1.0, |g| g[j])).collect();
        Self {
            columns,
            mean: columns.repeat(&moments.mean),
            inv: columns.repeat(&inv),
            scale: columns.repeat(&scale),
            beta: columns.repeat(beta.unwrap_or(&vec![0.0; c])),
        }
    }

    /// `relu(normalised x + residual)`; ReLU and residual are optional.
    pub fn forward(&self, x: &[f32], residual: Option<&[f32]>, relu: bool) -> Vec<f32> {
        let (chunk, period) = (self.columns.chunk(), self.columns.period);
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        filled(x.len(), |out| {
            out.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).enumerate().for_each(|(i, (out, x))| {
                let residual = residual.map(|r| &r[i * chunk..][..x.len()]);
                vectorized(
                    #[inline(always)]
                    || {
                        for (row, (out, x)) in out.chunks_mut(period).zip(x.chunks(period)).enumerate() {
                            let affine = self.mean.iter().zip(&self.scale).zip(&self.beta);
                            let values = out.iter_mut().zip(x).zip(affine);
                            match residual {
                                None => values.for_each(|((o, x), ((m, s), b))| *o = ((x - m) * s + b).max(floor)),
                                Some(r) => values
                                    .zip(&r[row * period..])
                                    .for_each(|(((o, x), ((m, s), b)), r)| *o = ((x - m) * s + b + r).max(floor)),
                            }
                        }
                    },
                )
            })
        })
    }

    /// `relu(normalised from)` for whole rows, on this thread.
    pub fn apply_relu(&self, from: &[f32], to: &mut [f32]) {
        let period = self.columns.period;
        vectorized(
            #[inline(always)]
            || {
                for (to, from) in to.chunks_mut(period).zip(from.chunks(period)) {
                    let affine = self.mean.iter().zip(&self.scale).zip(&self.beta);
                    let values = to.iter_mut().zip(from).zip(affine);
                    values.for_each(|((o, x), ((m, s), b))| *o = ((x - m) * s + b).max(0.0));
                }
            },
        )
    }

    /// Sums for the way back: `[sum of g, sum of g * (x - mean)]` for each channel, `g` being `dy` where ReLU let
    /// through. With `y`, the output of the ReLU, `dy` becomes `g`; else ReLU's mask is found again from `x`.
    fn gradient_sums(&self, x: &[f32], y: Option<&[f32]>, dy: &mut [f32], relu: bool) -> [Vec<f32>; 2] {
        let chunk = self.columns.chunk();
        let relu = relu && y.is_none();
        let parts = x
            .par_chunks(chunk)
            .zip(dy.par_chunks_mut(chunk))
            .enumerate()
            .map(|(i, (x, dy))| {
                let y = y.map(|y| &y[i * chunk..][..x.len()]);
                vectorized(
                    #[inline(always)]
                    || {
                        if let Some(y) = y {
                            dy.iter_mut().zip(y).for_each(|(g, y)| *g = if *y > 0.0 { *g } else { 0.0 });
                        }
                        self.columns.sums(
                            [x, dy],
                            #[inline(always)]
                            |column, [x, dy]| {
                                let (m, s) = (vector(&self.mean[column..]), vector(&self.scale[column..]));
                                let b = vector(&self.beta[column..]);
                                let g = lanes(|l| {
                                    let open = !relu || (x[l] - m[l]) * s[l] + b[l] > 0.0;
                                    if open { dy[l] } else { 0.0 }
                                });
                                [g, lanes(|l| g[l] * (x[l] - m[l]))]
                            },
                        )
                    },
                )
            })
            .collect();
        merge(parts, self.columns.channels)
    }

    /// The gradient of `x`, and those of gamma and beta, from that of the output.
    ///
    /// `y` is the output where a residual was added before a ReLU: `dy` then becomes the gradient of the residual, and
    /// that of `x` comes back; else it is written over `dy`. `batch` tells that the moments came from `x` itself, so that
    /// its gradient passes through them.
    pub fn backward(
        &self,
        x: &[f32],
        (y, keep): (Option<&[f32]>, bool),
        dy: &mut [f32],
        (relu, batch): (bool, bool),
    ) -> (Option<Vec<f32>>, [Vec<f32>; 2]) {
        let c = self.columns.channels;
        let [sum, centred] = self.gradient_sums(x, y, dy, relu);
        let rows = (x.len() / c) as f32;
        let share = if batch { 1.0 / rows } else { 0.0 };
        let mean_g = self.columns.repeat(&sum.iter().map(|s| s * share).collect::<Vec<_>>());
        let slope: Vec<f32> = (0..c).map(|j| centred[j] * share * self.inv[j] * self.inv[j]).collect();
        let slope = self.columns.repeat(&slope);
        let (chunk, period, relu) = (self.columns.chunk(), self.columns.period, relu && y.is_none());
        let affine = || self.mean.iter().zip(&self.scale).zip(&self.beta).zip(&mean_g).zip(&slope);
        let dx = if keep {
            Some(filled(x.len(), |dx| {
                dx.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).zip(dy.par_chunks(chunk)).for_each(|((dx, x), dy)| {
                    vectorized(
                        #[inline(always)]
                        || {
                            for ((dx, x), dy) in dx.chunks_mut(period).zip(x.chunks(period)).zip(dy.chunks(period)) {
                                let values = dx.iter_mut().zip(x).zip(dy).zip(affine());
                                values.for_each(|(((d, x), g), a)| *d = gradient_of(relu, x, *g, a));
                            }
                        },
                    )
                })
            }))
        } else {
            dy.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(dy, x)| {
                vectorized(
                    #[inline(always)]
                    || {
                        for (dy, x) in dy.chunks_mut(period).zip(x.chunks(period)) {
                            let values = dy.iter_mut().zip(x).zip(affine());
                            values.for_each(|((g, x), a)| *g = gradient_of(relu, x, *g, a));
                        }
                    },
                )
            });
            None
        };
        let gamma = centred.iter().zip(&self.inv).map(|(s, inv)| s * inv).collect();
        (dx, [gamma, sum])
    }
}

/// The gradient of one element, from its value and that of its output.
#[inline(always)]
fn gradient_of(relu: bool, x: &f32, g: f32, ((((m, s), b), mean_g), slope): Coefficients<'_>) -> f32 {
    let masked = if !relu || (x - m) * s + b > 0.0 { g } else { 0.0 };
    s * (masked - mean_g - (x - m) * slope)
}

/// Mean, scale, shift, mean gradient and slope of a channel.
type Coefficients<'a> = ((((&'a f32, &'a f32), &'a f32), &'a f32), &'a f32);

fn merge(parts: Vec<[Vec<f32>; 2]>, c: usize) -> [Vec<f32>; 2] {
    [0, 1].map(|k| (0..c).map(|j| parts.iter().map(|p| p[k][j] as f64).sum::<f64>() as f32).collect())
}

/// Sets `dy` to zero where `y`, the output of a ReLU, is not positive.
pub fn mask(y: &[f32], dy: &mut [f32]) {
    const CHUNK: usize = 1 << 15;
    dy.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(dy, y)| {
        vectorized(
            #[inline(always)]
            || dy.iter_mut().zip(y).for_each(|(g, y)| *g = if *y > 0.0 { *g } else { 0.0 }),
        )
    });
}
