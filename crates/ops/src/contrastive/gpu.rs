//! NT-Xent on a GPU: rows by the kernels of `kernel.cu`, matrices by cuBLAS.

use crate::gpu::machine::{At, Kernels, Launch, Machine, args, kernels};
use crate::gpu::{Gpu, at};
use crate::tensor::gpu::{add_assign, total};
use candle_core::{Result, Tensor};
use std::ops::Range;

const KERNELS: Kernels = kernels!("contrastive");

/// Rows `[R, D]` at unit length (as they are, where not `normalize`), and the lengths that they had.
pub fn unit_rows<M: Machine>(
    m: &M,
    x: At<f32>,
    (rows, d): (usize, usize),
    normalize: bool,
) -> Result<[M::Memory<f32>; 2]> {
    let (z, norms) = (m.room::<f32>(rows * d)?, m.room::<f32>(rows)?);
    m.launch(Launch::rows(KERNELS, "unit_rows", rows, args![x, d as i64, normalize, m.at(&z), m.at(&norms)])?)?;
    Ok([z, norms])
}

/// Turns the gradient of rows at unit length into that of the rows before, in place.
pub fn unit_rows_gradient<M: Machine>(
    m: &M,
    [z, norms]: [At<f32>; 2],
    (rows, d): (usize, usize),
    gradient: At<f32>,
) -> Result<()> {
    m.launch(Launch::rows(KERNELS, "unit_rows_gradient", rows, args![z, norms, d as i64, gradient])?)
}

/// The place of a rank in a contrastive batch: all images, those of the rank, and the number of its first.
#[derive(Clone, Copy)]
pub struct Place {
    pub images: usize,
    pub own: usize,
    pub first: usize,
}

/// Turns similarities `[2 own, 2 images]` into the gradient with respect to them; gives the loss, and first views by second
/// views over the temperature, `[own, images]`.
pub fn launch_nt_xent<M: Machine>(m: &M, p: At<f32>, place: Place, temperature: f64) -> Result<[M::Memory<f32>; 2]> {
    let rows = 2 * place.own;
    let (losses, ab) = (m.room::<f64>(rows)?, m.room::<f32>(place.own * place.images)?);
    let (inverse, own) = ((1.0 / temperature) as f32, place.own as i64);
    let args = args![p, place.images as i64, own, place.first as i64, inverse, m.at(&losses), m.at(&ab)];
    m.launch(Launch::rows(KERNELS, "nt_xent_rows", rows, args)?)?;
    Ok([total(m, m.at(&losses), rows, 1.0 / place.own as f64)?, ab])
}

/// The mean entropy of the softmax of rows `[R, B]`.
pub fn launch_mean_entropy<M: Machine>(m: &M, logits: At<f32>, (rows, b): (usize, usize)) -> Result<M::Memory<f32>> {
    let (p, entropies) = (m.room::<f32>(rows * b)?, m.room::<f64>(rows)?);
    m.launch(Launch::rows(KERNELS, "entropy_rows", rows, args![logits, b as i64, m.at(&p), m.at(&entropies)])?)?;
    total(m, m.at(&entropies), rows, 1.0 / rows as f64)
}

/// What NT-Xent over `gathered` `[2B, D]` finds on the rank that holds the images `own`, as on the CPU: loss and gradient, the
/// mean entropy, and similarities over the temperature, `[own, B]`.
///
/// # Errors
/// When memory is short.
pub fn nt_xent(
    gpu: &Gpu,
    gathered: &Tensor,
    own: Range<usize>,
    temperature: f64,
    normalize: bool,
) -> Result<([Tensor; 2], Tensor, Tensor)> {
    let (rows, d) = gathered.dims2()?;
    let (images, first, n) = (rows / 2, own.start, own.len());
    let [z, norms] = unit_rows(gpu, at(gathered)?, (rows, d), normalize)?;
    let (z, norms) = (gpu.tensor(z, (rows, d)), gpu.tensor(norms, rows));
    let views = [first, images + first].map(|row| z.narrow(0, row, n));
    let own = match (n == images, views) {
        (true, _) => z.clone(),
        (false, [a, b]) => Tensor::cat(&[a?, b?], 0)?,
    };
    // In f32: candle lets cuBLAS use TF32 only where it is told to.
    let p = own.matmul(&z.t()?)?;
    let [total, ab] = launch_nt_xent(gpu, at(&p)?, Place { images, own: n, first }, temperature)?;
    let (gradient, along) = (p.t()?.matmul(&own)?, p.matmul(&z)?);
    if n == images {
        add_assign(gpu, &gradient, &along)?;
    } else {
        for (view, row) in [first, images + first].into_iter().enumerate() {
            add_assign(gpu, &gradient.narrow(0, row, n)?, &along.narrow(0, view * n, n)?)?;
        }
    }
    if normalize {
        unit_rows_gradient(gpu, [at(&z)?, at(&norms)?], (rows, d), at(&gradient)?)?;
    }
    let entropy = gpu.tensor(launch_mean_entropy(gpu, gpu.at(&ab), (n, images))?, ());
    Ok(([gpu.tensor(total, ()), gradient], entropy, gpu.tensor(ab, (n, images))))
}
