//! Losses over rows: as [`crate::loss`] and [`crate::contrastive`], by the kernels of `loss.cu`. Matrices are multiplied
//! by the caller.

use super::machine::{At, Launch, Machine, args, count};
use candle_core::Result;

const SOURCE: &str = "loss";

/// A loss and its gradient with respect to what went in.
pub struct Loss<M: Machine> {
    /// One number.
    pub loss: M::Memory<f32>,
    /// Of the input's shape.
    pub gradient: M::Memory<f32>,
}

/// Rows `[R, D]` at unit length (as they are, where not `normalize`), and the lengths that they had.
pub fn unit_rows<M: Machine>(
    m: &M,
    x: At<f32>,
    (rows, d): (usize, usize),
    normalize: bool,
) -> Result<[M::Memory<f32>; 2]> {
    let (z, norms) = (m.room::<f32>(rows * d)?, m.room::<f32>(rows)?);
    m.launch(Launch::rows(SOURCE, "unit_rows", rows, args![x, d as i64, normalize, m.at(&z), m.at(&norms)])?)?;
    Ok([z, norms])
}

/// Turns the gradient of rows at unit length into that of the rows before, in place.
pub fn unit_rows_gradient<M: Machine>(
    m: &M,
    [z, norms]: [At<f32>; 2],
    (rows, d): (usize, usize),
    gradient: At<f32>,
) -> Result<()> {
    m.launch(Launch::rows(SOURCE, "unit_rows_gradient", rows, args![z, norms, d as i64, gradient])?)
}

/// The place of a rank in a contrastive batch: all images, those of a rank, and the rank's number.
#[derive(Clone, Copy)]
pub struct Place {
    pub images: usize,
    pub own: usize,
    pub rank: usize,
}

/// Turns similarities `[2 own, 2 images]` into the gradient with respect to them; gives the loss, and first views by second
/// views over the temperature, `[own, images]`.
pub fn nt_xent<M: Machine>(m: &M, p: At<f32>, place: Place, temperature: f64) -> Result<[M::Memory<f32>; 2]> {
    let rows = 2 * place.own;
    let (losses, ab) = (m.room::<f64>(rows)?, m.room::<f32>(place.own * place.images)?);
    let (inverse, own) = ((1.0 / temperature) as f32, place.own as i64);
    let args = args![p, place.images as i64, own, place.rank as i64, inverse, m.at(&losses), m.at(&ab)];
    m.launch(Launch::rows(SOURCE, "nt_xent_rows", rows, args)?)?;
    Ok([total(m, m.at(&losses), rows, 1.0 / place.own as f64)?, ab])
}

/// The sum of `len` numbers times `factor`.
fn total<M: Machine>(m: &M, values: At<f64>, len: usize, factor: f64) -> Result<M::Memory<f32>> {
    let out = m.room::<f32>(1)?;
    m.launch(Launch::rows(SOURCE, "total", 1, args![values, len as i64, factor, m.at(&out)])?)?;
    Ok(out)
}

/// The share of `known` labeled rows whose label is among the `k` largest values; a label below 0 is none.
pub fn accuracy<M: Machine>(
    m: &M,
    logits: At<f32>,
    (rows, d): (usize, usize),
    labels: At<i32>,
    (k, known): (usize, usize),
) -> Result<M::Memory<f32>> {
    let hits = m.room::<f64>(rows)?;
    m.launch(Launch::rows(SOURCE, "hit_rows", rows, args![logits, labels, d as i64, k as i64, m.at(&hits)])?)?;
    total(m, m.at(&hits), rows, 1.0 / known as f64)
}

/// The mean entropy of the softmax of rows `[B, B]`.
pub fn mean_entropy<M: Machine>(m: &M, logits: At<f32>, b: usize) -> Result<M::Memory<f32>> {
    let (p, entropies) = (m.room::<f32>(b * b)?, m.room::<f64>(b)?);
    m.launch(Launch::rows(SOURCE, "entropy_rows", b, args![logits, b as i64, m.at(&p), m.at(&entropies)])?)?;
    total(m, m.at(&entropies), b, 1.0 / b as f64)
}

/// Mean over all rows of the cross entropy against classes; a label below 0 is none.
pub fn cross_entropy<M: Machine>(
    m: &M,
    logits: At<f32>,
    (rows, d): (usize, usize),
    labels: At<i32>,
) -> Result<Loss<M>> {
    let (gradient, losses) = (m.room::<f32>(rows * d)?, m.room::<f64>(rows)?);
    let args = args![logits, labels, d as i64, rows as f32, m.at(&gradient), m.at(&losses)];
    m.launch(Launch::rows(SOURCE, "cross_entropy_rows", rows, args)?)?;
    Ok(Loss { loss: total(m, m.at(&losses), rows, 1.0 / rows as f64)?, gradient })
}

/// Mean over rows of `T^2` times the cross entropy of the student against the teacher.
pub fn distillation<M: Machine>(
    m: &M,
    [student, teacher]: [At<f32>; 2],
    (rows, d): (usize, usize),
    temperature: f64,
) -> Result<Loss<M>> {
    let (target, gradient, losses) = (m.room::<f32>(rows * d)?, m.room::<f32>(rows * d)?, m.room::<f64>(rows)?);
    let args =
        args![student, teacher, d as i64, temperature, rows as f32, m.at(&target), m.at(&gradient), m.at(&losses)];
    m.launch(Launch::rows(SOURCE, "distillation_rows", rows, args)?)?;
    let loss = total(m, m.at(&losses), rows, temperature * temperature / rows as f64)?;
    Ok(Loss { loss, gradient })
}

/// Every number times the one at `factor`.
pub fn scale_by<M: Machine>(m: &M, values: At<f32>, len: usize, factor: At<f32>) -> Result<()> {
    m.launch(Launch::items(SOURCE, "scale_by", len, args![values, factor, count(len)?])?)
}

/// Adds `bias` `[O]` to every row of `out` `[rows, O]`.
pub fn add_bias<M: Machine>(m: &M, out: At<f32>, (rows, o): (usize, usize), bias: At<f32>) -> Result<()> {
    m.launch(Launch::items(SOURCE, "add_bias", rows * o, args![out, bias, count(o)?, count(rows * o)?])?)
}

/// The sums of the columns of `x` `[rows, c]`.
pub fn sum_rows<M: Machine>(m: &M, x: At<f32>, (rows, c): (usize, usize)) -> Result<M::Memory<f32>> {
    let out = m.room::<f32>(c)?;
    m.launch(Launch::tiles(SOURCE, "sum_rows", (c, 1), args![x, rows as i64, c as i64, m.at(&out)])?)?;
    Ok(out)
}
