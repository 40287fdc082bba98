//! Losses: softmax cross entropy with hard and soft targets, NT-Xent, and sums of losses.

use crate::cpu::gemm::{View, gemm};
use crate::cpu::{from_vec, update, with_slice};
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};
use rayon::prelude::*;

/// Softmax of a row in place; returns the logarithm of the sum of exponentials.
fn softmax_row(row: &mut [f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for v in row.iter_mut() {
        *v = (*v - max).exp();
        sum += *v as f64;
    }
    let scale = (1.0 / sum) as f32;
    row.iter_mut().for_each(|v| *v *= scale);
    max as f64 + sum.ln()
}

/// A scalar whose gradient with respect to `input` is `gradient` times what flows in.
fn scalar(tape: &Tape, input: &Value, loss: f64, gradient: Vec<f32>) -> Result<Value> {
    let (node, shape) = (input.node(), input.tensor().shape().clone());
    Ok(tape.record(&[input], from_vec(vec![loss as f32], ())?, move |dy, gradients| {
        let factor = dy.to_scalar::<f32>()?;
        let gradient = from_vec(gradient, shape)?;
        update(&gradient, |g| g.iter_mut().for_each(|g| *g *= factor))?;
        gradients.add(node, gradient)
    }))
}

/// Mean over rows of the cross entropy of softmax(`logits`) `[R, D]` against class indices.
///
/// # Errors
/// When there is not one label a row, or a label is not below `D`.
pub fn cross_entropy(tape: &Tape, logits: &Value, labels: &[u32]) -> Result<Value> {
    partial_cross_entropy(tape, logits, &labels.iter().map(|l| Some(*l)).collect::<Vec<_>>())
}

/// As [`cross_entropy`], where some rows have no label: the sum over labeled rows, divided by the number of all rows.
///
/// # Errors
/// As [`cross_entropy`].
pub fn partial_cross_entropy(tape: &Tape, logits: &Value, labels: &[Option<u32>]) -> Result<Value> {
    let (r, d) = logits.tensor().dims2()?;
    if labels.len() != r {
        bail!("cross_entropy: {} labels for {r} rows", labels.len())
    }
    if let Some(bad) = labels.iter().flatten().find(|l| **l as usize >= d) {
        bail!("cross_entropy: label {bad} for {d} classes")
    }
    with_slice(logits.tensor(), |data| {
        let mut gradient = data.to_vec();
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
        scalar(tape, logits, loss / r as f64, gradient)
    })
}

/// Mean over rows of `T^2` times the cross entropy of softmax(`student` / T) against softmax(`teacher` / T)
/// (paper, equation 2; the factor is that of the authors' code). Both are `[R, D]`; no gradient reaches the teacher.
///
/// # Errors
/// When shapes differ.
pub fn distillation(tape: &Tape, student: &Value, teacher: &Value, temperature: f64) -> Result<Value> {
    let (r, d) = student.tensor().dims2()?;
    if teacher.tensor().dims() != [r, d] {
        bail!("distillation: teacher {:?} and student {:?} differ", teacher.tensor().shape(), student.tensor().shape())
    }
    let warm = |values: &[f32]| values.iter().map(|v| (*v as f64 / temperature) as f32).collect::<Vec<_>>();
    let mut target = with_slice(teacher.tensor(), |t| Ok(warm(t)))?;
    let mut gradient = with_slice(student.tensor(), |s| Ok(warm(s)))?;
    let (mut loss, scale) = (0.0f64, (temperature / r as f64) as f32);
    for (row, target) in gradient.chunks_exact_mut(d).zip(target.chunks_exact_mut(d)) {
        softmax_row(target);
        let dot: f64 = row.iter().zip(&*target).map(|(s, t)| *s as f64 * *t as f64).sum();
        loss += softmax_row(row) - dot;
        row.iter_mut().zip(&*target).for_each(|(p, t)| *p = scale * (*p - t));
    }
    scalar(tape, student, loss * temperature * temperature / r as f64, gradient)
}

/// NT-Xent and what is reported beside it.
pub struct NtXent {
    /// The two directions summed, averaged over the batch.
    pub loss: Value,
    /// Share of first views whose own second view is the most similar of all second views.
    pub accuracy: f64,
    /// Mean entropy of the softmax over those similarities.
    pub entropy: f64,
    /// Those similarities over the temperature, `[B, B]` row-major: first views by second views.
    pub logits_ab: Vec<f32>,
}

/// The contrastive loss over `hidden` `[2B, D]`: rows `0..B` are first views, `B..2B` second views of the same images
/// (Chen et al. 2020, equation 1, as the authors' code sums it). Rows are scaled to unit length when `normalize`.
///
/// # Errors
/// When the number of rows is odd or below 4.
pub fn nt_xent(tape: &Tape, hidden: &Value, temperature: f64, normalize: bool) -> Result<NtXent> {
    let (rows, d) = hidden.tensor().dims2()?;
    if rows % 2 != 0 || rows < 4 {
        bail!("nt_xent: {rows} rows; needs two views of at least two images")
    }
    let b = rows / 2;
    with_slice(hidden.tensor(), |input| {
        let norms: Vec<f32> = input.chunks_exact(d).map(|row| if normalize { length(row) } else { 1.0 }).collect();
        let z: Vec<f32> = input.chunks_exact(d).zip(&norms).flat_map(|(r, n)| r.iter().map(move |v| v / n)).collect();
        let mut p = vec![0.0f32; rows * rows];
        let inverse = (1.0 / temperature) as f32;
        p.par_chunks_mut(rows * 32).zip(z.par_chunks(d * 32)).for_each(|(p, left)| {
            gemm(left.len() / d, rows, d, p, View::row_major(left, d), View::transposed(&z, d), false);
            p.iter_mut().for_each(|v| *v *= inverse);
        });
        let logits_ab: Vec<f32> = (0..b).flat_map(|i| p[i * rows + b..(i + 1) * rows].iter().copied()).collect();
        let (accuracy, entropy) = retrieval(&logits_ab, b);
        // P becomes the gradient with respect to the logits: softmax minus one-hot, averaged over the batch.
        let losses: Vec<f64> = p
            .par_chunks_mut(rows)
            .enumerate()
            .map(|(i, row)| {
                row[i] = f32::NEG_INFINITY;
                let positive = (i + b) % rows;
                let logit = row[positive] as f64;
                let loss = softmax_row(row) - logit;
                row[positive] -= 1.0;
                row.iter_mut().for_each(|g| *g *= inverse / b as f32);
                loss
            })
            .collect();
        let loss = losses.iter().sum::<f64>() / b as f64;
        // dz = (P + P^T) z, then through the scaling to unit length.
        let mut gradient = vec![0.0f32; rows * d];
        gradient.par_chunks_mut(d * 32).enumerate().for_each(|(i, g)| {
            let (first, n) = (i * 32, g.len() / d);
            let z_view = View::row_major(&z, d);
            gemm(n, d, rows, g, View::row_major(&p[first * rows..], rows), z_view, false);
            gemm(n, d, rows, g, View::transposed(&p[first..], rows), z_view, true);
        });
        if normalize {
            for ((g, z), norm) in gradient.chunks_exact_mut(d).zip(z.chunks_exact(d)).zip(&norms) {
                let along: f32 = g.iter().zip(z).map(|(g, z)| g * z).sum();
                g.iter_mut().zip(z).for_each(|(g, z)| *g = (*g - along * z) / norm);
            }
        }
        Ok(NtXent { loss: scalar(tape, hidden, loss, gradient)?, accuracy, entropy, logits_ab })
    })
}

/// Length of a row, kept away from zero as the reference does (square sum at least 1e-12).
fn length(row: &[f32]) -> f32 {
    row.iter().map(|v| *v as f64 * *v as f64).sum::<f64>().max(1e-12).sqrt() as f32
}

fn retrieval(logits: &[f32], b: usize) -> (f64, f64) {
    let (mut hits, mut entropy) = (0usize, 0.0f64);
    for (i, row) in logits.chunks_exact(b).enumerate() {
        let best = row.iter().enumerate().fold(0, |best, (j, v)| if *v > row[best] { j } else { best });
        hits += usize::from(best == i);
        let mut p = row.to_vec();
        softmax_row(&mut p);
        entropy -= p.iter().map(|p| *p as f64 * (*p as f64 + 1e-8).ln()).sum::<f64>();
    }
    (hits as f64 / b as f64, entropy / b as f64)
}

/// `sum of factor * loss` over scalar losses.
///
/// # Errors
/// When a value is not a scalar.
pub fn weighted_sum(tape: &Tape, terms: &[(f64, &Value)]) -> Result<Value> {
    let mut total = 0.0f64;
    for (factor, loss) in terms {
        total += factor * loss.tensor().to_scalar::<f32>()? as f64;
    }
    let inputs: Vec<&Value> = terms.iter().map(|(_, v)| *v).collect();
    let nodes: Vec<_> = terms.iter().map(|(factor, v)| (*factor, v.node())).collect();
    Ok(tape.record(&inputs, from_vec(vec![total as f32], ())?, move |dy, gradients| {
        let dy = dy.to_scalar::<f32>()? as f64;
        for (factor, node) in nodes {
            gradients.add(node, from_vec(vec![(factor * dy) as f32], ())?)?;
        }
        Ok(())
    }))
}
