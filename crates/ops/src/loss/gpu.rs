//! Losses over rows on a GPU, one block a row, by the kernels of `kernel.cu`.

use crate::gpu::machine::{At, Kernels, Launch, Machine, args, kernels};
use crate::gpu::{Gpu, at};
use crate::metrics::gpu::numbered;
use crate::tensor::gpu::total;
use candle_core::{Result, Tensor};

const KERNELS: Kernels = kernels!("loss");

/// A loss and its gradient with respect to what went in.
pub struct Found<M: Machine> {
    /// One number.
    pub loss: M::Memory<f32>,
    /// Of the input's shape.
    pub gradient: M::Memory<f32>,
}

/// Mean over all rows of the cross entropy against classes; a label below 0 is none.
pub fn launch_cross_entropy<M: Machine>(
    m: &M,
    logits: At<f32>,
    (rows, d): (usize, usize),
    labels: At<i32>,
) -> Result<Found<M>> {
    let (gradient, losses) = (m.room::<f32>(rows * d)?, m.room::<f64>(rows)?);
    let args = args![logits, labels, d as i64, rows as f32, m.at(&gradient), m.at(&losses)];
    m.launch(Launch::rows(KERNELS, "cross_entropy_rows", rows, args)?)?;
    Ok(Found { loss: total(m, m.at(&losses), rows, 1.0 / rows as f64)?, gradient })
}

/// Mean over rows of `T^2` times the cross entropy of the student against the teacher.
pub fn launch_distillation<M: Machine>(
    m: &M,
    [student, teacher]: [At<f32>; 2],
    (rows, d): (usize, usize),
    temperature: f64,
) -> Result<Found<M>> {
    let (target, gradient, losses) = (m.room::<f32>(rows * d)?, m.room::<f32>(rows * d)?, m.room::<f64>(rows)?);
    let args =
        args![student, teacher, d as i64, temperature, rows as f32, m.at(&target), m.at(&gradient), m.at(&losses)];
    m.launch(Launch::rows(KERNELS, "distillation_rows", rows, args)?)?;
    let loss = total(m, m.at(&losses), rows, temperature * temperature / rows as f64)?;
    Ok(Found { loss, gradient })
}

/// A loss, a scalar, and its gradient, of this shape.
fn tensors(gpu: &Gpu, found: Found<Gpu>, shape: (usize, usize)) -> [Tensor; 2] {
    [gpu.tensor(found.loss, ()), gpu.tensor(found.gradient, shape)]
}

/// Mean over all rows of the cross entropy of softmax(`logits`) `[R, D]` against classes, and its gradient.
///
/// # Errors
/// When memory is short.
pub fn cross_entropy(gpu: &Gpu, logits: &Tensor, labels: &[Option<u32>]) -> Result<[Tensor; 2]> {
    let (shape, labels) = (logits.dims2()?, numbered(gpu, labels)?);
    Ok(tensors(gpu, launch_cross_entropy(gpu, at(logits)?, shape, gpu.at(&labels))?, shape))
}

/// Mean over rows of `T^2` times the cross entropy of the student against the teacher, and its gradient.
///
/// # Errors
/// When memory is short.
pub fn distillation(gpu: &Gpu, student: &Tensor, teacher: &Tensor, temperature: f64) -> Result<[Tensor; 2]> {
    let shape = student.dims2()?;
    Ok(tensors(gpu, launch_distillation(gpu, [at(student)?, at(teacher)?], shape, temperature)?, shape))
}
