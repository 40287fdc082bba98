//! The contrastive loss NT-Xent (Chen et al. 2020, equation 1), whole or as one of several ranks sees it.

use crate::cpu::matmul::{product, turned};
use crate::cpu::panels::Panels;
use crate::cpu::{from_vec, with_slice};
use crate::loss::{scalar, softmax_row};
use crate::metrics::accuracy;
use crate::tape::{Tape, Value};
use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

/// Rows that one task multiplies.
const BLOCK: usize = 32;

/// NT-Xent on the tape, and what is reported beside it.
pub struct NtXent {
    /// The two directions summed, averaged over the batch.
    pub loss: Value,
    /// Share of first views whose own second view is the most similar of all second views: a scalar.
    pub accuracy: Tensor,
    /// Mean entropy of the softmax over those similarities: a scalar.
    pub entropy: Tensor,
    /// Those similarities over the temperature, `[B, B]`: first views by second views.
    pub logits_ab: Tensor,
}

/// One rank's share of NT-Xent over a batch of `B` images, of which each of the ranks holds `B / ranks`.
pub struct Share {
    /// Over the images of this rank: the two directions summed, averaged.
    pub loss: f64,
    /// The gradient of [`Share::loss`] with respect to the rows of all ranks, `[2B, D]` row-major. Summed over ranks
    /// and divided by their number it is the gradient of one process that holds the whole batch.
    pub gradient: Vec<f32>,
    /// As [`NtXent::logits_ab`], this rank's first views by all second views, row-major.
    pub logits_ab: Vec<f32>,
}

/// The contrastive loss over `hidden` `[2B, D]`: rows `0..B` are first views, `B..2B` second views of the same images,
/// summed as the authors' code does it. Rows are scaled to unit length when `normalize`.
///
/// # Errors
/// When the number of rows is odd or below 4.
pub fn nt_xent(tape: &Tape, hidden: &Value, temperature: f64, normalize: bool) -> Result<NtXent> {
    on_gpu!(hidden.tensor(), crate::cuda::tape::nt_xent(tape, hidden, temperature, normalize));
    let Share { loss, gradient, logits_ab } = nt_xent_share(hidden.tensor(), (0, 1), temperature, normalize)?;
    let images = hidden.tensor().dim(0)? / 2;
    let entropy = from_vec(vec![mean_entropy(&logits_ab, images)], ())?;
    let logits_ab = from_vec(logits_ab, (images, images))?;
    let accuracy = retrieval(&logits_ab)?;
    Ok(NtXent { loss: scalar(tape, hidden, loss, gradient)?, accuracy, entropy, logits_ab })
}

/// Rows of several parts of a batch, each all first views and then all second views of its images, as those of the
/// whole batch in that order: `[2n, D]` each to `[2B, D]`.
///
/// # Errors
/// When there is no part, widths differ, or a part's rows do not pair up.
pub fn join_views(tape: &Tape, parts: &[Value]) -> Result<Value> {
    let d = parts.first().map_or(Ok(0), |p| p.tensor().dim(1))?;
    let mut places = Vec::with_capacity(parts.len());
    let mut images = 0;
    for part in parts {
        match part.tensor().dims2()? {
            (rows, width) if rows % 2 == 0 && width == d => places.push((part.node(), images * d, rows / 2 * d)),
            (rows, width) => bail!("join_views: a part of {rows} rows of {width}, beside one of {d} columns"),
        }
        images += part.tensor().dim(0)? / 2;
    }
    if images == 0 {
        bail!("join_views: no rows")
    }
    #[cfg(feature = "cuda")]
    if parts.iter().any(|p| p.tensor().device().is_cuda()) {
        return crate::cuda::tape::join_views(tape, parts);
    }
    let half = images * d;
    let mut rows = vec![0.0f32; 2 * half];
    for (part, (_, start, len)) in parts.iter().zip(&places) {
        with_slice(part.tensor(), |part| {
            rows[*start..][..*len].copy_from_slice(&part[..*len]);
            rows[half + start..][..*len].copy_from_slice(&part[*len..]);
            Ok(())
        })?;
    }
    let inputs: Vec<&Value> = parts.iter().collect();
    Ok(tape.record(&inputs, from_vec(rows, (2 * images, d))?, move |dy, gradients| {
        with_slice(&dy, |dy| {
            for (node, start, len) in places {
                let part = [&dy[start..][..len], &dy[half + start..][..len]].concat();
                gradients.add(node, from_vec(part, (2 * len / d, d))?)?;
            }
            Ok(())
        })
    }))
}

/// What rank `rank` of `ranks` adds to NT-Xent over `gathered` `[2B, D]`: the first views of rank 0, of rank 1, ..., then
/// the second views in that order. Each row of the rank is held against all rows.
///
/// # Errors
/// When the rows are no two views of at least two images, or do not fall into `ranks` equal parts.
pub fn nt_xent_share(
    gathered: &Tensor,
    (rank, ranks): (usize, usize),
    temperature: f64,
    normalize: bool,
) -> Result<Share> {
    let (rows, d) = gathered.dims2()?;
    if rows % 2 != 0 || rows < 4 {
        bail!("nt_xent: {rows} rows; needs two views of at least two images")
    }
    let b = rows / 2;
    if rank >= ranks || b % ranks != 0 {
        bail!("nt_xent: {b} images cannot be shared out to rank {rank} of {ranks}")
    }
    let n = b / ranks;
    // Row `i` of this rank among all rows.
    let place = |i: usize| (i / n) * b + rank * n + i % n;
    with_slice(gathered, |input| {
        let norms: Vec<f32> = input.chunks_exact(d).map(|row| if normalize { length(row) } else { 1.0 }).collect();
        let z: Vec<f32> = input.chunks_exact(d).zip(&norms).flat_map(|(r, n)| r.iter().map(move |v| v / n)).collect();
        let own: Vec<f32> = [0, b].iter().flat_map(|v| &z[(v + rank * n) * d..][..n * d]).copied().collect();
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
            let (p, g) = (&p[view * n * rows..][..n * rows], &mut gradient[(view * b + rank * n) * d..][..n * d]);
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
fn length(row: &[f32]) -> f32 {
    row.iter().map(|v| *v as f64 * *v as f64).sum::<f64>().max(1e-12).sqrt() as f32
}

/// How often a view's own partner is the most similar: row `i` of `[B, B]` looks for column `i`.
pub(crate) fn retrieval(logits: &Tensor) -> Result<Tensor> {
    let own: Vec<_> = (0..logits.dim(0)? as u32).map(Some).collect();
    accuracy(logits, &own, 1)
}

/// The mean entropy of the softmax of rows of `b`.
pub(crate) fn mean_entropy(logits: &[f32], b: usize) -> f64 {
    let mut entropy = 0.0f64;
    for row in logits.chunks_exact(b) {
        let mut p = row.to_vec();
        softmax_row(&mut p);
        entropy -= p.iter().map(|p| *p as f64 * libm::log(*p as f64 + 1e-8)).sum::<f64>();
    }
    entropy / b as f64
}
