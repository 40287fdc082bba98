//! Accuracy and mean cosines on a GPU, by the kernels of `kernel.cu`.

use crate::gpu::machine::{At, Kernels, Launch, Machine, args, kernels};
use crate::gpu::{Gpu, at};
use crate::tensor::gpu::total;
use candle_core::{Result, Tensor};

const KERNELS: Kernels = kernels!("metrics");

/// The share of `known` labeled rows whose label is among the `k` largest values; a label below 0 is none.
pub fn launch_accuracy<M: Machine>(
    m: &M,
    logits: At<f32>,
    (rows, d): (usize, usize),
    labels: At<i32>,
    (k, known): (usize, usize),
) -> Result<M::Memory<f32>> {
    let hits = m.room::<f64>(rows)?;
    m.launch(Launch::rows(KERNELS, "hit_rows", rows, args![logits, labels, d as i64, k as i64, m.at(&hits)])?)?;
    total(m, m.at(&hits), rows, 1.0 / known as f64)
}

/// The share of the labeled rows of `logits` `[R, D]` whose label is among the `k` largest values: an f32 scalar.
///
/// # Errors
/// When memory is short.
pub fn accuracy(gpu: &Gpu, logits: &Tensor, labels: &[Option<u32>], k: usize) -> Result<Tensor> {
    let known = labels.iter().flatten().count();
    let labels = numbered(gpu, labels)?;
    Ok(gpu.tensor(launch_accuracy(gpu, at(logits)?, logits.dims2()?, gpu.at(&labels), (k, known))?, ()))
}

/// Labels as kernels know them: -1 for none.
///
/// # Errors
/// When memory is short.
pub fn numbered<M: Machine>(m: &M, labels: &[Option<u32>]) -> Result<M::Memory<i32>> {
    m.upload(&labels.iter().map(|l| l.map_or(-1, |l| l as i32)).collect::<Vec<_>>())
}

/// The mean cosine of all pairs of rows of features `[R, D]`.
pub fn launch_mean_cosine<M: Machine>(m: &M, features: At<f32>, (rows, d): (usize, usize)) -> Result<M::Memory<f32>> {
    let (shares, squares) = (m.room::<f64>(rows)?, m.room::<f64>(d)?);
    m.launch(Launch::rows(KERNELS, "row_shares", rows, args![features, rows as i64, d as i64, m.at(&shares)])?)?;
    let args = args![features, m.at(&shares), rows as i64, d as i64, m.at(&squares)];
    m.launch(Launch::rows(KERNELS, "column_squares", d, args)?)?;
    total(m, m.at(&squares), d, 1.0)
}

/// The mean cosine of all pairs of rows of `features` `[R, D]`: an f32 scalar.
///
/// # Errors
/// When memory is short.
pub fn mean_cosine(gpu: &Gpu, features: &Tensor) -> Result<Tensor> {
    Ok(gpu.tensor(launch_mean_cosine(gpu, at(features)?, features.dims2()?)?, ()))
}
