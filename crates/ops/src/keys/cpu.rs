//! The contrast with keys on the CPU: a block of keys at a time, of which nothing but sums is kept.
//!
//! A block of keys stays in cache while all rows pass: their similarities, exponentials relative to the block's own maximum, and
//! sums of keys weighted by them. Blocks are merged in their order. So the queue is read once, where it stands, and the matrix of
//! similarities, hundreds of megabytes for a long queue, is never in memory.

use crate::contrastive::cpu::{length, mean_entropy};
use crate::products::{Panels, product};
use crate::simd::{self, Kernel, LANES, Wide, wide};
use crate::tensor::{from_vec, with_slice};
use candle_core::{Result, Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Keys of a block.
const BLOCK: usize = 512;
/// Rows whose similarities with a block are held at once.
const ROWS: usize = 32;

/// What a block of keys adds to each row.
struct Part {
    /// The largest similarity.
    most: Vec<f32>,
    /// The sum of exponentials, relative to that.
    sums: Vec<f64>,
    /// Keys weighted by them, `[R, D]`.
    weighted: Vec<f32>,
}

/// Turns similarities into exponentials relative to the largest one, in place; gives that and their sum. A similarity of minus
/// infinity counts as none.
struct Exponentials<'a>(&'a mut [f32]);

impl Kernel for Exponentials<'_> {
    type Output = (f32, f64);
    #[inline(always)]
    fn run<S: Wide>(self) -> (f32, f64) {
        let most = lanes(self.0, f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        let most = most.into_iter().fold(f32::MIN, f32::max);
        let (shift, period) = (S::splat(most), self.0.len());
        simd::update::<S, f32, 0>(
            [],
            self.0,
            period,
            #[inline(always)]
            |_, v, []| exp(v.minus(shift)),
        );
        (most, lanes(self.0, 0.0, |a, b| a + b).into_iter().map(f64::from).sum())
    }
}

/// Sixteen results, each of every sixteenth number.
#[inline(always)]
fn lanes(row: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut all = [start; LANES];
    for piece in row.chunks(LANES) {
        for (lane, v) in all.iter_mut().zip(piece) {
            *lane = f(*lane, *v);
        }
    }
    all
}

/// `e` to the power of `x`, at most 0, to the last digit but one. What is below -87 counts as that: 1e-38, which no sum feels
/// that has a 1 among its terms.
#[inline(always)]
fn exp<S: Wide>(x: S) -> S {
    const LOWEST: f32 = -87.0;
    /// Beyond it floats are whole numbers: adding it rounds.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts: products of a small whole number with the first are exact.
    const LN2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// exp(r) = 1 + r + r^2 p(r) for |r| <= ln 2 / 2, by Remez' algorithm (Moshier's Cephes).
    const P: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let x = x.at_least(S::splat(LOWEST));
    let round = S::splat(ROUND);
    let n = x.times_plus(S::splat(std::f32::consts::LOG2_E), round).minus(round);
    let r = n.times_plus(S::splat(-LN2[1]), n.times_plus(S::splat(-LN2[0]), x));
    let mut p = S::splat(P[0]);
    for coefficient in &P[1..] {
        p = p.times_plus(r, S::splat(*coefficient));
    }
    p.times_plus(r.times(r), r.plus(S::splat(1.0))).times(n.two_to())
}

/// Rows `[R, D]` at unit length.
///
/// # Errors
/// When they are no contiguous f32 matrix on the CPU.
pub fn unit_rows(x: &Tensor) -> Result<Tensor> {
    let (_, d) = x.dims2()?;
    let unit = with_slice(x, |x| Ok(units(x, d).0))?;
    from_vec(unit, x.shape())
}

/// Rows at unit length, and the lengths that they had.
fn units(x: &[f32], d: usize) -> (Vec<f32>, Vec<f32>) {
    let lengths: Vec<f32> = x.chunks_exact(d).map(length).collect();
    (x.chunks_exact(d).zip(&lengths).flat_map(|(row, l)| row.iter().map(move |v| v / l)).collect(), lengths)
}

/// The contrast of the rank that holds the images `own`: loss and gradient, the mean entropy, and similarities over the
/// temperature of its first views with the keys of all second views, `[own, B]`.
///
/// # Errors
/// When one is no contiguous f32 matrix on the CPU.
pub fn contrast_keys(
    hidden: &Tensor,
    keys: &Tensor,
    queue: Option<&Tensor>,
    own: Range<usize>,
    temperature: f64,
) -> Result<([Tensor; 2], Tensor, Tensor)> {
    let ((_, d), images, n) = (hidden.dims2()?, keys.dim(0)? / 2, own.len());
    let on = |queue: &[f32]| {
        with_slice(hidden, |x| with_slice(keys, |keys| Ok(contrast(x, [keys, queue], d, own, temperature))))
    };
    let (loss, gradient, ab) = match queue {
        Some(queue) => with_slice(queue, on)?,
        None => on(&[])?,
    };
    let entropy = from_vec(vec![mean_entropy(&ab, images)], ())?;
    let found = [from_vec(vec![loss as f32], ())?, from_vec(gradient, hidden.shape())?];
    Ok((found, entropy, from_vec(ab, (n, images))?))
}

/// The loss, its gradient with respect to `x`, and similarities of first views with keys of second ones.
fn contrast(
    x: &[f32],
    [keys, queue]: [&[f32]; 2],
    d: usize,
    own: Range<usize>,
    temperature: f64,
) -> (f64, Vec<f32>, Vec<f32>) {
    let (rows, n, images) = (x.len() / d, own.len(), keys.len() / d / 2);
    let inverse = (1.0 / temperature) as f32;
    let (z, lengths) = units(x, d);
    let scaled: Vec<f32> = z.iter().map(|v| v * inverse).collect();
    // Row `i` of this rank among the keys, and the key of its other view.
    let place = |i: usize| (i / n) * images + own.start + i % n;
    let positive = |i: usize| &keys[(place(i) + images) % (2 * images) * d..][..d];
    let blocks = |all: &'_ [f32]| all.len().div_ceil(BLOCK * d);
    let parts: Vec<Part> = (0..blocks(keys) + blocks(queue))
        .into_par_iter()
        .map(|block| match block.checked_sub(blocks(keys)) {
            None => {
                let first = block * BLOCK;
                let block = &keys[first * d..keys.len().min((first + BLOCK) * d)];
                part(&scaled, block, d, |i| place(i).checked_sub(first))
            }
            Some(block) => {
                part(&scaled, &queue[block * BLOCK * d..queue.len().min((block + 1) * BLOCK * d)], d, |_| None)
            }
        })
        .collect();
    let mut gradient = vec![0.0f32; rows * d];
    let losses: Vec<f64> = gradient
        .par_chunks_mut(d)
        .enumerate()
        .map(|(i, g)| {
            let most = parts.iter().fold(f32::MIN, |most, part| part.most[i].max(most));
            let shares: Vec<f64> =
                parts.iter().map(|part| libm::exp(f64::from(part.most[i]) - f64::from(most))).collect();
            let total: f64 = parts.iter().zip(&shares).map(|(part, share)| part.sums[i] * share).sum();
            for (part, share) in parts.iter().zip(&shares) {
                let share = (share / total) as f32;
                g.iter_mut().zip(&part.weighted[i * d..]).for_each(|(g, w)| *g += share * w);
            }
            let (z, right) = (&z[i * d..][..d], positive(i));
            let logit: f64 = scaled[i * d..][..d].iter().zip(right).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            g.iter_mut().zip(right).for_each(|(g, key)| *g = (*g - key) * (inverse / rows as f32));
            // Through the scaling to unit length.
            let along: f32 = g.iter().zip(z).map(|(g, z)| g * z).sum();
            g.iter_mut().zip(z).for_each(|(g, z)| *g = (*g - along * z) / lengths[i]);
            f64::from(most) + libm::log(total) - logit
        })
        .collect();
    let mut ab = vec![0.0f32; n * images];
    let second = Panels::transposed(&keys[images * d..], images);
    ab.par_chunks_mut(images * ROWS)
        .zip(scaled.par_chunks(d * ROWS))
        .for_each(|(ab, first)| product(&first[..ab.len() / images * d], d, &second, ab, false));
    (losses.iter().sum::<f64>() / rows as f64, gradient, ab)
}

/// What the keys `block` add to each row; `own(i)` is where among them row `i` has the key of its own view, if there.
fn part(scaled: &[f32], block: &[f32], d: usize, own: impl Fn(usize) -> Option<usize>) -> Part {
    let (rows, width) = (scaled.len() / d, block.len() / d);
    let across = Panels::transposed(block, width);
    let down = Panels::of_rows(width, d, |row| &block[row * d..][..d]);
    let mut part =
        Part { most: Vec::with_capacity(rows), sums: Vec::with_capacity(rows), weighted: vec![0.0; rows * d] };
    let mut similarities = vec![0.0f32; ROWS.min(rows) * width];
    let pieces = scaled.chunks(ROWS * d).zip(part.weighted.chunks_mut(ROWS * d)).enumerate();
    for (i, (rows, weighted)) in pieces {
        let similarities = &mut similarities[..rows.len() / d * width];
        product(rows, d, &across, similarities, false);
        for (row, similarities) in similarities.chunks_exact_mut(width).enumerate() {
            if let Some(own) = own(i * ROWS + row).and_then(|own| similarities.get_mut(own)) {
                *own = f32::NEG_INFINITY;
            }
            let (most, sum) = wide(Exponentials(similarities));
            part.most.push(most);
            part.sums.push(sum);
        }
        product(similarities, width, &down, weighted, false);
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_those_of_the_library() {
        for most in [0.0f32, 3.0, -40.0] {
            let numbers: Vec<f32> = (0..1001).map(|i| most - 0.0869 * i as f32).collect();
            let mut found = numbers.clone();
            let (largest, sum) = wide(Exponentials(&mut found));
            assert_eq!(largest, most);
            let want: Vec<f64> = numbers.iter().map(|v| libm::exp(f64::from(v - most))).collect();
            for (found, want) in found.iter().zip(&want) {
                assert!((f64::from(*found) - want).abs() <= 2e-7 * want, "{found} for {want}");
            }
            let all: f64 = want.iter().sum();
            assert!((sum - all).abs() < 1e-6 * all, "{sum} for {all}");
        }
        let mut masked = [f32::NEG_INFINITY, -2.0, -2.0];
        assert_eq!(wide(Exponentials(&mut masked)).1, 2.0);
        let mut lost = [0.0, f32::NAN, -1.0];
        assert!(wide(Exponentials(&mut lost)).1.is_nan(), "what is no number must be noticed");
    }
}
