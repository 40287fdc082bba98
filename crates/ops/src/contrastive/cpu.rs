//! NT-Xent on the CPU, whole or as one of several ranks sees it.

use crate::loss::softmax::softmax_row;
use crate::products::{Panels, product, turned};
use crate::tensor::{from_vec, with_slice};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use std::ops::Range;

/// Rows that one task multiplies.
const BLOCK: usize = 32;

/// One rank's share of NT-Xent over a batch of `B` images, of which it holds some.
pub struct Share {
    /// Over the images of this rank: the two directions summed, averaged.
    pub loss: f64,
    /// The gradient of [`Share::loss`] with respect to the rows of all ranks, `[2B, D]` row-major. Summed over ranks, each
    /// weighted by its share of the images, it is the gradient of one process that holds the whole batch.
    pub gradient: Vec<f32>,
    /// As [`crate::NtXent::logits_ab`], this rank's first views by all second views, row-major.
    pub logits_ab: Vec<f32>,
}

/// What the rank that holds the images `own` adds to NT-Xent over `gathered` `[2B, D]`: the first views of all images, then
/// the second views. Each row of the rank is held against all rows.
///
/// # Errors
/// When the rows are no two views of at least two images, or `own` is not among them.
pub fn nt_xent_share(gathered: &Tensor, own: Range<usize>, temperature: f64, normalize: bool) -> Result<Share> {
    let (rows, d) = gathered.dims2()?;
    if rows % 2 != 0 || rows < 4 {
        bail!("nt_xent: {rows} rows; needs two views of at least two images")
    }
    let b = rows / 2;
    if own.is_empty() || own.end > b {
        bail!("nt_xent: a rank that holds images {own:?} of {b}")
    }
    let (first, n) = (own.start, own.len());
    // Row `i` of this rank among all rows.
    let place = |i: usize| (i / n) * b + first + i % n;
    with_slice(gathered, |input| {
        let norms: Vec<f32> = input.chunks_exact(d).map(|row| if normalize { length(row) } else { 1.0 }).collect();
        let z: Vec<f32> = input.chunks_exact(d).zip(&norms).flat_map(|(r, n)| r.iter().map(move |v| v / n)).collect();
        let own: Vec<f32> = [0, b].iter().flat_map(|v| &z[(v + first) * d..][..n * d]).copied().collect();
        let mut p = vec![0.0f32; 2 * n * rows];
        let inverse = (1.0 / temperature) as f32;
        let columns = Panels::transposed(&z, rows);
        p.par_chunks_mut(rows * BLOCK).zip(own.par_chunks(d * BLOCK)).for_each(|(p, left)| {
            product(left, d, &columns, p, false);
            p.iter_mut().for_each(|v| *v *= inverse);
        });
        let logits_ab: Vec<f32> = p[..n * rows].chunks_exact(rows).flat_map(|row| &row[b..]).copied().collect();
        // P becomes the gradient with respect to the logits: softmax minus one-hot, averaged over the rank's images.
        let losses: Vec<f64> = p
            .par_chunks_mut(rows)
            .enumerate()
            .map(|(i, row)| {
                row[place(i)] = f32::NEG_INFINITY;
                let positive = (place(i) + b) % rows;
                let logit = row[positive] as f64;
                let loss = softmax_row(row) - logit;
                row[positive] -= 1.0;
                row.iter_mut().for_each(|g| *g *= inverse / n as f32);
                loss
            })
            .collect();
        let loss = losses.iter().sum::<f64>() / n as f64;
        // dz = P^T z_own for all rows, and P z on the rank's own; then through the scaling to unit length.
        let mut gradient = vec![0.0f32; rows * d];
        let of_own = Panels::of_rows(2 * n, d, |row| &own[row * d..][..d]);
        gradient.par_chunks_mut(d * BLOCK).enumerate().for_each(|(i, g)| {
            let columns = turned(&p, rows, i * BLOCK..i * BLOCK + g.len() / d);
            product(&columns, 2 * n, &of_own, g, false);
        });
        let of_all = Panels::of_rows(rows, d, |row| &z[row * d..][..d]);
        for view in [0, 1] {
            let (p, g) = (&p[view * n * rows..][..n * rows], &mut gradient[(view * b + first) * d..][..n * d]);
            g.par_chunks_mut(d * BLOCK).zip(p.par_chunks(rows * BLOCK)).for_each(|(g, p)| {
                product(p, rows, &of_all, g, true);
            });
        }
        if normalize {
            for ((g, z), norm) in gradient.chunks_exact_mut(d).zip(z.chunks_exact(d)).zip(&norms) {
                let along: f32 = g.iter().zip(z).map(|(g, z)| g * z).sum();
                g.iter_mut().zip(z).for_each(|(g, z)| *g = (*g - along * z) / norm);
            }
        }
        Ok(Share { loss, gradient, logits_ab })
    })
}

/// Length of a row, kept away from zero as the reference does (square sum at least 1e-12).
pub fn length(row: &[f32]) -> f32 {
    row.iter().map(|v| *v as f64 * *v as f64).sum::<f64>().max(1e-12).sqrt() as f32
}

/// The mean entropy of the softmax of rows of `b`.
pub fn mean_entropy(logits: &[f32], b: usize) -> f64 {
    let mut entropy = 0.0f64;
    for row in logits.chunks_exact(b) {
        let mut p = row.to_vec();
        softmax_row(&mut p);
        entropy -= p.iter().map(|p| *p as f64 * libm::log(*p as f64 + 1e-8)).sum::<f64>();
    }
    entropy / (logits.len() / b) as f64
}

/// What NT-Xent over `gathered` `[2B, D]` finds on the rank that holds the images `own` ([`nt_xent_share`]): loss and gradient,
/// the mean entropy, and similarities over the temperature, `[own, B]`.
///
/// # Errors
/// As [`nt_xent_share`].
pub fn nt_xent(
    gathered: &Tensor,
    own: Range<usize>,
    temperature: f64,
    normalize: bool,
) -> Result<([Tensor; 2], Tensor, Tensor)> {
    let (images, n) = (gathered.dim(0)? / 2, own.len());
    let Share { loss, gradient, logits_ab } = nt_xent_share(gathered, own, temperature, normalize)?;
    let entropy = from_vec(vec![mean_entropy(&logits_ab, images)], ())?;
    let found = [from_vec(vec![loss as f32], ())?, from_vec(gradient, gathered.shape())?];
    Ok((found, entropy, from_vec(logits_ab, (n, images))?))
}
