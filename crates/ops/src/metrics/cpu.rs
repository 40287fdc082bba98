//! Accuracy and mean cosines on the CPU.

use crate::tensor::with_slice;
use candle_core::{Result, Tensor};

/// How many rows of `logits` `[R, D]`, row-major, have their label among the `k` largest values. Of equal values the one
/// that stands first wins, and a row with a value that is not a number counts as wrong.
pub fn top_k(logits: &[f32], classes: usize, labels: impl IntoIterator<Item = Option<u32>>, k: usize) -> usize {
    let hit = |(row, label): (&[f32], Option<u32>)| {
        let Some(label) = label.map(|l| l as usize) else { return false };
        let own = row[label];
        let before =
            row.iter().enumerate().filter(|&(j, v)| *v > own || (*v == own && j < label) || v.is_nan()).count();
        !own.is_nan() && before < k
    };
    logits.chunks_exact(classes).zip(labels).filter(|pair| hit(*pair)).count()
}

/// The share of the labeled rows of `logits` `[R, D]` whose label is among the `k` largest values: an f64 scalar.
///
/// # Errors
/// When the logits are no contiguous f32 matrix on the CPU.
pub fn accuracy(logits: &Tensor, labels: &[Option<u32>], k: usize) -> Result<Tensor> {
    let (_, d) = logits.dims2()?;
    let known = labels.iter().flatten().count();
    let hits = with_slice(logits, |l| Ok(top_k(l, d, labels.iter().copied(), k)))?;
    Tensor::new(hits as f64 / known as f64, logits.device())
}

/// The mean cosine of all pairs of rows of `features` `[R, D]`: an f64 scalar.
///
/// # Errors
/// When the features are no contiguous f32 matrix on the CPU.
pub fn mean_cosine(features: &Tensor) -> Result<Tensor> {
    let (rows, d) = features.dims2()?;
    let mut mean = vec![0.0f64; d];
    with_slice(features, |values| {
        for row in values.chunks_exact(d.max(1)) {
            let norm = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
            let share = if norm == 0.0 { 0.0 } else { 1.0 / (norm * rows as f64) };
            mean.iter_mut().zip(row).for_each(|(mean, v)| *mean += share * f64::from(*v));
        }
        Ok(())
    })?;
    Tensor::new(mean.iter().map(|v| v * v).sum::<f64>(), features.device())
}
