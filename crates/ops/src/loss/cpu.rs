//! Losses over rows on the CPU, sums in f64.

use super::softmax::softmax_row;
use crate::tensor::{from_vec, with_slice};
use candle_core::{Result, Tensor};

/// Mean over all rows of the cross entropy of softmax(`logits`) `[R, D]` against classes, and its gradient.
///
/// # Errors
/// When the logits are no contiguous f32 matrix on the CPU.
pub fn cross_entropy(logits: &Tensor, labels: &[Option<u32>]) -> Result<[Tensor; 2]> {
    let (r, d) = logits.dims2()?;
    let mut gradient = with_slice(logits, |l| Ok(l.to_vec()))?;
    let mut loss = 0.0f64;
    for (row, label) in gradient.chunks_exact_mut(d).zip(labels) {
        let Some(label) = label.map(|l| l as usize) else {
            row.fill(0.0);
            continue;
        };
        let logit = row[label] as f64;
        loss += softmax_row(row) - logit;
        row[label] -= 1.0;
        row.iter_mut().for_each(|g| *g /= r as f32);
    }
    Ok([from_vec(vec![(loss / r as f64) as f32], ())?, from_vec(gradient, (r, d))?])
}

/// Mean over rows of `T^2` times the cross entropy of the student against the teacher, and its gradient.
///
/// # Errors
/// When one is no contiguous f32 matrix on the CPU.
pub fn distillation(student: &Tensor, teacher: &Tensor, temperature: f64) -> Result<[Tensor; 2]> {
    let (r, d) = student.dims2()?;
    let warm = |values: &[f32]| values.iter().map(|v| (*v as f64 / temperature) as f32).collect::<Vec<_>>();
    let mut target = with_slice(teacher, |t| Ok(warm(t)))?;
    let mut gradient = with_slice(student, |s| Ok(warm(s)))?;
    let (mut loss, scale) = (0.0f64, (temperature / r as f64) as f32);
    for (row, target) in gradient.chunks_exact_mut(d).zip(target.chunks_exact_mut(d)) {
        softmax_row(target);
        let dot: f64 = row.iter().zip(&*target).map(|(s, t)| *s as f64 * *t as f64).sum();
        loss += softmax_row(row) - dot;
        row.iter_mut().zip(&*target).for_each(|(p, t)| *p = scale * (*p - t));
    }
    let loss = loss * temperature * temperature / r as f64;
    Ok([from_vec(vec![loss as f32], ())?, from_vec(gradient, (r, d))?])
}
