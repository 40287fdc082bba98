//! NT-Xent on a GPU: rows by the kernels of `kernel.cu`, matrices by cuBLAS.

use crate::gpu::machine::{At, Kernels, Launch, Machine, args, kernels};
use crate::gpu::{Gpu, at};
use crate::tensor::gpu::{add_assign, total};
use candle_core::{Result, Tensor};

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

/// The place of a rank in a contrastive batch: all images, those of a rank, and the rank's number.
#[derive(Clone, Copy)]
pub struct Place {
    pub images: usize,
    pub own: usize,
    pub rank: usize,
}

/// Turns similarities `[2 own, 2 images]` into the gradient with respect to them; gives the loss, and first views by second
/// views over the temperature, `[own, images]`.
pub fn launch_nt_xent<M: Machine>(m: &M, p: At<f32>, place: Place, temperature: f64) -> Result<[M::Memory<f32>; 2]> {
    let rows = 2 * place.own;
    let (losses, ab) = (m.room::<f64>(rows)?, m.room::<f32>(place.own * place.images)?);
    let (inverse, own) = ((1.0 / temperature) as f32, place.own as i64);
    let args = args![p, place.images as i64, own, place.rank as i64, inverse, m.at(&losses), m.at(&ab)];
    m.launch(Launch::rows(KERNELS, "nt_xent_rows", rows, args)?)?;
    Ok([total(m, m.at(&losses), rows, 1.0 / place.own as f64)?, ab])
}

/// The mean entropy of the softmax of rows `[B, B]`.
pub fn launch_mean_entropy<M: Machine>(m: &M, logits: At<f32>, b: usize) -> Result<M::Memory<f32>> {
    let (p, entropies) = (m.room::<f32>(b * b)?, m.room::<f64>(b)?);
    m.launch(Launch::rows(KERNELS, "entropy_rows", b, args![logits, b as i64, m.at(&p), m.at(&entropies)])?)?;
    total(m, m.at(&entropies), b, 1.0 / b as f64)
}

/// What NT-Xent over `hidden` `[2B, D]` finds: its loss and gradient, the mean entropy, and similarities over the
/// temperature.
///
/// # Errors
/// When memory is short.
pub fn nt_xent(gpu: &Gpu, hidden: &Tensor, temperature: f64, normalize: bool) -> Result<([Tensor; 2], Tensor, Tensor)> {
    let (rows, d) = hidden.dims2()?;
    let [z, norms] = unit_rows(gpu, at(hidden)?, (rows, d), normalize)?;
    let (z, norms) = (gpu.tensor(z, (rows, d)), gpu.tensor(norms, rows));
    // In f32: candle lets cuBLAS use TF32 only where it is told to.
    let p = z.matmul(&z.t()?)?;
    let images = rows / 2;
    let place = Place { images, own: images, rank: 0 };
    let [total, ab] = launch_nt_xent(gpu, at(&p)?, place, temperature)?;
    let gradient = p.t()?.matmul(&z)?;
    add_assign(gpu, &gradient, &p.matmul(&z)?)?;
    if normalize {
        unit_rows_gradient(gpu, [at(&z)?, at(&norms)?], (rows, d), at(&gradient)?)?;
    }
    let entropy = gpu.tensor(launch_mean_entropy(gpu, gpu.at(&ab), images)?, ());
    Ok(([gpu.tensor(total, ()), gradient], entropy, gpu.tensor(ab, (images, images))))
}
