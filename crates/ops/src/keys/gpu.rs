//! The contrast with keys on a GPU: rows by the kernels of `kernel.cu` and of NT-Xent, matrices by cuBLAS.

use crate::contrastive::gpu::{self as contrastive, Place, launch_mean_entropy, unit_rows_gradient};
use crate::gpu::machine::{At, Kernels, Launch, Machine, args, kernels};
use crate::gpu::{Gpu, at};
use crate::tensor::gpu::{add_assign, total};
use candle_core::{Result, Tensor};
use std::ops::Range;

const KERNELS: Kernels = kernels!("keys");

/// Turns similarities with keys `[2 own, 2 images]` and with a queue `[2 own, queued]` into the gradient with respect to them;
/// gives the loss, and first views by keys of second views over the temperature, `[own, images]`.
pub fn launch_key_rows<M: Machine>(
    m: &M,
    [p, q]: [At<f32>; 2],
    place: Place,
    queued: usize,
    temperature: f64,
) -> Result<[M::Memory<f32>; 2]> {
    let rows = 2 * place.own;
    let (losses, ab) = (m.room::<f64>(rows)?, m.room::<f32>(place.own * place.images)?);
    let (inverse, own) = ((1.0 / temperature) as f32, place.own as i64);
    let args =
        args![p, q, place.images as i64, own, place.first as i64, queued as i64, inverse, m.at(&losses), m.at(&ab)];
    m.launch(Launch::rows(KERNELS, "key_rows", rows, args)?)?;
    Ok([total(m, m.at(&losses), rows, 1.0 / rows as f64)?, ab])
}

/// Rows `[R, D]` at unit length.
///
/// # Errors
/// When memory is short.
pub fn unit_rows(gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
    let [z, _] = contrastive::unit_rows(gpu, at(x)?, x.dims2()?, true)?;
    Ok(gpu.tensor(z, x.shape()))
}

/// The contrast of the rank that holds the images `own`, as on the CPU: loss and gradient, the mean entropy, and similarities over
/// the temperature, `[own, B]`.
///
/// # Errors
/// When memory is short.
pub fn contrast_keys(
    gpu: &Gpu,
    hidden: &Tensor,
    keys: &Tensor,
    queue: Option<&Tensor>,
    own: Range<usize>,
    temperature: f64,
) -> Result<([Tensor; 2], Tensor, Tensor)> {
    let ((rows, d), images, n) = (hidden.dims2()?, keys.dim(0)? / 2, own.len());
    let [z, norms] = contrastive::unit_rows(gpu, at(hidden)?, (rows, d), true)?;
    let (z, norms) = (gpu.tensor(z, (rows, d)), gpu.tensor(norms, rows));
    // In f32, as NT-Xent's.
    let p = z.matmul(&keys.t()?)?;
    let q = queue.map(|queue| z.matmul(&queue.t()?)).transpose()?;
    let ends = [at(&p)?, q.as_ref().map_or(Ok(At::none()), at)?];
    let queued = queue.map_or(Ok(0), |queue| queue.dim(0))?;
    let [loss, ab] = launch_key_rows(gpu, ends, Place { images, own: n, first: own.start }, queued, temperature)?;
    let gradient = p.matmul(keys)?;
    if let (Some(q), Some(queue)) = (&q, queue) {
        add_assign(gpu, &gradient, &q.matmul(queue)?)?;
    }
    unit_rows_gradient(gpu, [at(&z)?, at(&norms)?], (rows, d), at(&gradient)?)?;
    let entropy = gpu.tensor(launch_mean_entropy(gpu, gpu.at(&ab), (n, images))?, ());
    Ok(([gpu.tensor(loss, ()), gradient], entropy, gpu.tensor(ab, (n, images))))
}
