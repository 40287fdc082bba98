//! Steps of the optimisers on the CPU, one parameter at a time: what [`crate::step`] says.

use super::{update, update_with, vectorized, with_slice};
use crate::step::{AdamStep, LarsStep, Parameter};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// Elements that one task handles; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 14;
/// The same, where one list is read.
const LONG_CHUNK: usize = 1 << 15;

/// Sums of the squares of `K` numbers for each of `len` elements, by tasks of `size`; `f(i)` gives those of element `i`.
fn squares<const K: usize>(len: usize, size: usize, f: impl Fn(usize) -> [f32; K] + Sync) -> [f64; K] {
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
fn change(data: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(&mut f32, f32, f32) + Sync) {
    data.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((data, a), b)| {
        vectorized(
            #[inline(always)]
            || data.iter_mut().zip(a).zip(b).for_each(|((d, a), b)| f(d, *a, *b)),
        )
    });
}

pub fn lars(p: &Parameter<'_>, step: LarsStep) -> Result<()> {
    let LarsStep { lr, momentum: m, classic, nesterov, .. } = step;
    let (v, adapted) = (p.first, p.adapted);
    let decay = if adapted { step.decay } else { 0.0 };
    with_slice(p.gradient, |g| {
        // Two passes over memory: one for the norms, one that moves.
        let mut factor = 1.0;
        with_slice(p.weight, |w| {
            if !classic {
                return update(v, |v| change(v, g, w, |v, g, w| *v = m * *v + (g + decay * w)));
            }
            let norms = || squares(w.len(), CHUNK, |i| [w[i], g[i] + decay * w[i]]).map(f64::sqrt);
            let [weight, update_] = if adapted { norms() } else { [0.0; 2] };
            factor = (lr * step.trust(weight, update_)) as f32;
            update(v, |v| change(v, g, w, |v, g, w| *v = m * *v + factor * (g + decay * w)))
        })?;
        // What the weight moves by, before the rate where that does not enter the momentum.
        let moves = |v: f32, g: f32, w: f32| if nesterov { m * v + factor * (g + decay * w) } else { v };
        update_with(p.weight, v, |w, v| {
            if classic {
                return change(w, v, g, |w, v, g| *w -= moves(v, g, *w));
            }
            let norms = || squares(w.len(), CHUNK, |i| [w[i], moves(v[i], g[i], w[i])]).map(f64::sqrt);
            let [weight, update] = if adapted { norms() } else { [0.0; 2] };
            let rate = (lr * step.trust(weight, update)) as f32;
            change(w, v, g, |w, v, g| *w -= rate * moves(v, g, *w));
        })
    })
}

pub fn sgd(p: &Parameter<'_>, lr: f32, m: f32) -> Result<()> {
    with_slice(p.gradient, |g| {
        update(p.first, |v| change(v, g, g, |v, g, _| *v = m * *v - lr * g))?;
        update_with(p.weight, p.first, |w, v| change(w, g, v, |w, g, v| *w = (*w - lr * g) + m * v))
    })
}

pub fn adam(p: &Parameter<'_>, AdamStep { lr, betas: (b1, b2), eps }: AdamStep) -> Result<()> {
    let Some(second) = p.second else { bail!("updating {}: Adam needs a second moment", p.name) };
    with_slice(p.gradient, |g| {
        update(p.first, |m| change(m, g, g, |m, g, _| *m += (g - *m) * (1.0 - b1)))?;
        update(second, |s| change(s, g, g, |s, g, _| *s += (g * g - *s) * (1.0 - b2)))
    })?;
    with_slice(second, |s| {
        update_with(p.weight, p.first, |w, m| change(w, m, s, |w, m, s| *w -= lr * m / (s.sqrt() + eps)))
    })
}

pub fn decay(gradient: &Tensor, weight: &Tensor, factor: f32) -> Result<()> {
    update_with(gradient, weight, |g, w| change(g, w, w, |g, w, _| *g += factor * w))
}

pub fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    with_slice(tensor, |values| {
        let [sum] = squares(values.len(), LONG_CHUNK, |i| [values[i]]);
        Ok(sum)
    })
}
