//! Losses: softmax cross entropy with hard and soft targets, and sums of losses.

mod cpu;
#[cfg(all(test, unix))]
mod emulated;
mod gpu;
pub(crate) mod softmax;
#[cfg(test)]
mod tests;

use crate::gpu::dispatch;
use crate::metrics::check_labels;
use crate::tape::{Tape, Value};
use crate::tensor::scale_by;
use candle_core::{DType, Result, Tensor, bail};

/// A scalar `loss` whose gradient with respect to `input` is `gradient` times what flows in.
pub(crate) fn scalar(tape: &Tape, input: &Value, [loss, gradient]: [Tensor; 2]) -> Value {
    let node = input.node();
    tape.record(&[input], loss, move |dy, gradients| {
        scale_by(&gradient, &dy)?;
        gradients.add(node, gradient)
    })
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
    check_labels("cross_entropy", logits.tensor(), labels)?;
    let found = dispatch!(logits.tensor() => cross_entropy(logits.tensor(), labels))?;
    Ok(scalar(tape, logits, found))
}

/// Mean over rows of `T^2` times the cross entropy of softmax(`student` / T) against softmax(`teacher` / T)
/// (Chen et al. 2020b, equation 2; the factor is that of the authors' code). Both are `[R, D]`; no gradient reaches the
/// teacher.
///
/// # Errors
/// When shapes differ.
pub fn distillation(tape: &Tape, student: &Value, teacher: &Value, temperature: f64) -> Result<Value> {
    let (r, d) = student.tensor().dims2()?;
    if teacher.tensor().dims() != [r, d] {
        bail!("distillation: teacher {:?} and student {:?} differ", teacher.tensor().shape(), student.tensor().shape())
    }
    let found = dispatch!(student.tensor() => distillation(student.tensor(), teacher.tensor(), temperature))?;
    Ok(scalar(tape, student, found))
}

/// `sum of factor * loss` over scalar losses, by candle's ops in f64: nothing here is worth a kernel.
///
/// # Errors
/// When there are no terms, one is no scalar, or they are not all on one device.
pub fn weighted_sum(tape: &Tape, terms: &[(f64, &Value)]) -> Result<Value> {
    if let Some((_, value)) = terms.iter().find(|(_, v)| v.tensor().rank() != 0) {
        bail!("weighted_sum: a term of shape {:?} is no scalar", value.tensor().shape())
    }
    let inputs: Vec<&Value> = terms.iter().map(|(_, v)| *v).collect();
    tape.candle(&inputs, |losses| {
        let mut terms = losses.iter().zip(terms).map(|(loss, (factor, _))| loss.to_dtype(DType::F64)? * *factor);
        let Some(first) = terms.next() else { bail!("weighted_sum: no terms") };
        terms.try_fold(first?, |total, term| total + term?)?.to_dtype(DType::F32)
    })
}
