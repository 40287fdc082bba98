//! Groups of similar features: k-means on the sphere, the same on any number of threads.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use simclr_core::rng::{Purpose, Rng};
use simclr_ops::{Tape, Value, linear};

/// Rounds of k-means at most.
const ROUNDS: usize = 15;
/// Rows of one matrix product.
const ROWS: usize = 2048;

/// Rows `[N, D]` of unit length; a row of zeros stays one.
pub fn unit_rows(rows: &[f32], dim: usize) -> Vec<f32> {
    let mut rows = rows.to_vec();
    rows.par_chunks_mut(dim.max(1)).for_each(|row| {
        let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12) as f32;
        row.iter_mut().for_each(|v| *v /= norm);
    });
    rows
}

/// The cluster, below `count`, of each of some rows of unit length. Clusters may be empty where rows are alike.
///
/// # Errors
/// When there are fewer rows than clusters, or memory is short.
pub fn clusters(rows: &[f32], dim: usize, count: usize, seed: u64) -> Result<Vec<usize>> {
    let n = rows.len() / dim.max(1);
    ensure!(count > 0 && count <= n, "{count} clusters of {n} rows");
    let mut centres = begin(rows, dim, count, seed);
    let mut of = nearest(rows, dim, &centres)?;
    for _ in 0..ROUNDS {
        let mut sums = vec![0.0f64; count * dim];
        for (row, cluster) in rows.chunks(dim).zip(&of) {
            sums[cluster * dim..][..dim].iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        for (centre, sum) in centres.chunks_mut(dim).zip(sums.chunks(dim)) {
            let norm = sum.iter().map(|v| v * v).sum::<f64>().sqrt();
            // An empty cluster stays where it was.
            if norm > 1e-9 {
                centre.iter_mut().zip(sum).for_each(|(c, s)| *c = (s / norm) as f32);
            }
        }
        let next = nearest(rows, dim, &centres)?;
        if next == of {
            break;
        }
        of = next;
    }
    Ok(of)
}

/// First centres as k-means++ draws them: far from one another, likelier where rows are many.
fn begin(rows: &[f32], dim: usize, count: usize, seed: u64) -> Vec<f32> {
    let n = rows.len() / dim;
    let mut rng = Rng::stream(seed, Purpose::Review, &[0]);
    let mut far = vec![f32::INFINITY; n];
    let (mut centres, mut chosen) = (Vec::with_capacity(count * dim), rng.below(n));
    loop {
        let centre = &rows[chosen * dim..][..dim];
        centres.extend_from_slice(centre);
        if centres.len() == count * dim {
            return centres;
        }
        far.par_iter_mut().zip(rows.par_chunks(dim)).for_each(|(far, row)| {
            *far = far.min((1.0 - dot(row, centre)).max(0.0));
        });
        let total: f64 = far.iter().map(|d| f64::from(*d)).sum();
        let mut left = total * (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let drawn = far.iter().position(|d| {
            left -= f64::from(*d);
            left < 0.0
        });
        // All rows are centres already, or alike: any will do.
        chosen = drawn.unwrap_or_else(|| rng.below(n));
    }
}

/// The sum of products, in eight strands of one order.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a.zip(b) {
        (0..8).for_each(|i| sums[i] += x[i] * y[i]);
    }
    sums.iter().sum::<f32>() + rest
}

fn nearest(rows: &[f32], dim: usize, centres: &[f32]) -> Result<Vec<usize>> {
    let count = centres.len() / dim;
    let centres = Value::constant(Tensor::from_slice(centres, (count, dim), &Device::Cpu)?);
    let mut of = Vec::with_capacity(rows.len() / dim);
    for part in rows.chunks(ROWS * dim) {
        let part = Value::constant(Tensor::from_slice(part, (part.len() / dim, dim), &Device::Cpu)?);
        let similar = linear(&Tape::inference(), &part, &centres, None)?.tensor().flatten_all()?.to_vec1::<f32>()?;
        // Of equal ones the first.
        let best = |row: &[f32]| (1..count).fold(0, |best, i| if row[i] > row[best] { i } else { best });
        of.par_extend(similar.par_chunks(count).map(best));
    }
    Ok(of)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn blobs_are_told_apart() {
        let mut rng = Rng::stream(1, Purpose::Test, &[]);
        let mut rows = Vec::new();
        for i in 0..300 {
            let mut row = [0.0f32; 9];
            row.iter_mut().for_each(|v| *v = 0.05 * rng.normal());
            row[i % 3 * 3] += 1.0;
            rows.extend(row);
        }
        let rows = unit_rows(&rows, 9);
        let of = clusters(&rows, 9, 3, 7).unwrap();
        assert!((0..300).all(|i| of[i] == of[i % 3]), "{of:?}");
        assert_eq!(of[..3].iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert_eq!(of, clusters(&rows, 9, 3, 7).unwrap());
        // Rows that are all alike, and as many clusters as rows.
        assert_eq!(clusters(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 2, 3, 0).unwrap().len(), 3);
        assert!(clusters(&[1.0, 0.0], 2, 2, 0).is_err());
    }
}
