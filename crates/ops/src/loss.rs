//! Losses: softmax cross entropy with hard and soft targets, and sums of losses.

use crate::cpu::{from_vec, update, with_slice};
use crate::metrics::check_labels;
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};

/// Softmax of a row in place; returns the logarithm of the sum of exponentials.
pub(crate) fn softmax_row(row: &mut [f32]) -> f64 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f64;
    for v in row.iter_mut() {
        *v = libm::expf(*v - max);
        sum += *v as f64;
    }
    let scale = (1.0 / sum) as f32;
    row.iter_mut().for_each(|v| *v *= scale);
    max as f64 + libm::log(sum)
}

/// A scalar whose gradient with respect to `input` is `gradient` times what flows in.
pub(crate) fn scalar(tape: &Tape, input: &Value, loss: f64, gradient: Vec<f32>) -> Result<Value> {
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
    let (r, d) = (labels.len(), check_labels("cross_entropy", logits.tensor(), labels)?);
    on_gpu!(logits.tensor(), crate::cuda::tape::cross_entropy(tape, logits, labels));
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
    on_gpu!(student.tensor(), crate::cuda::tape::distillation(tape, student, teacher, temperature));
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

/// `sum of factor * loss` over scalar losses.
///
/// # Errors
/// When a value is not a scalar.
pub fn weighted_sum(tape: &Tape, terms: &[(f64, &Value)]) -> Result<Value> {
    let nodes: Vec<_> = terms.iter().map(|(factor, v)| (*factor, v.node())).collect();
    let inputs: Vec<&Value> = terms.iter().map(|(_, v)| *v).collect();
    #[cfg(feature = "cuda")]
    if terms.iter().any(|(_, v)| v.tensor().device().is_cuda()) {
        return crate::cuda::tape::weighted_sum(tape, terms);
    }
    let mut total = 0.0f64;
    for (factor, loss) in terms {
        total += factor * loss.tensor().to_scalar::<f32>()? as f64;
    }
    Ok(tape.record(&inputs, from_vec(vec![total as f32], ())?, move |dy, gradients| {
        let dy = dy.to_scalar::<f32>()? as f64;
        for (factor, node) in nodes {
            gradients.add(node, from_vec(vec![(factor * dy) as f32], ())?)?;
        }
        Ok(())
    }))
}
