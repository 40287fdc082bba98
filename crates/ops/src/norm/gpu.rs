//! Batch normalisation over rows `[R, C]` on a GPU, by the kernels of `kernel.cu`.

use crate::gpu::machine::{At, Kernels, Launch, Machine, Number, args, kernels, named, packs};
use crate::gpu::{Gpu, at};
use crate::tensor::access::by_element;
use candle_core::{D, Result, Tensor};

const KERNELS: Kernels = kernels!("norm");
/// Most groups of rows whose partial results are merged.
const MOST_PARTS: usize = 1024;
/// Fewest rows of a group: a thread reads eight at a time, and a tile has eight threads a column.
const FEWEST_ROWS: usize = 256;

/// How rows are cut into groups: rows of a group, and groups. By the number of rows alone, so that sums are the same on
/// every GPU.
fn parts(rows: usize) -> (usize, usize) {
    let per_part = rows.div_ceil(MOST_PARTS).next_multiple_of(64).max(FEWEST_ROWS);
    (per_part, rows.div_ceil(per_part))
}

/// Mean and biased variance of each channel, `[C]`.
pub struct Found<M: Machine> {
    pub mean: M::Memory<f32>,
    pub var: M::Memory<f32>,
}

/// The moments of `x` `[rows, c]`.
pub fn launch_moments<M: Machine, T: Number>(m: &M, x: At<T>, (rows, c): (usize, usize)) -> Result<Found<M>> {
    let (per_part, count) = parts(rows);
    let (means, squares) = (m.room::<f32>(count * c)?, m.room::<f32>(count * c)?);
    let sizes = (rows as i64, c as i64, per_part as i64);
    m.launch(Launch::tiles(
        KERNELS,
        named::<T>("moments_parts"),
        (c, count),
        args![x, sizes.0, sizes.1, sizes.2, m.at(&means), m.at(&squares)],
    )?)?;
    let (mean, var) = (m.room::<f32>(c)?, m.room::<f32>(c)?);
    m.launch(Launch::tiles(
        KERNELS,
        "moments_merge",
        (c, 1),
        args![m.at(&means), m.at(&squares), count as i64, sizes.0, sizes.2, sizes.1, m.at(&mean), m.at(&var)],
    )?)?;
    Ok(Found { mean, var })
}

/// What normalises: `y = (x - mean) * scale + shift`, one value a channel.
pub struct Affine<M: Machine> {
    c: usize,
    mean: At<f32>,
    inv: M::Memory<f32>,
    scale: M::Memory<f32>,
    shift: M::Memory<f32>,
}

/// From moments, which the caller keeps alive; a missing gamma is 1, a missing beta 0.
pub fn affine<M: Machine>(
    m: &M,
    [mean, var]: [At<f32>; 2],
    [gamma, beta]: [Option<At<f32>>; 2],
    eps: f32,
    c: usize,
) -> Result<Affine<M>> {
    let (inv, scale, shift) = (m.room::<f32>(c)?, m.room::<f32>(c)?, m.room::<f32>(c)?);
    let optional = |at: Option<At<f32>>| at.unwrap_or(At::none());
    m.launch(Launch::items(
        KERNELS,
        "norm_affine",
        c,
        args![var, optional(gamma), optional(beta), eps, c as i64, m.at(&inv), m.at(&scale), m.at(&shift)],
    )?)?;
    Ok(Affine { c, mean, inv, scale, shift })
}

impl<M: Machine> Affine<M> {
    /// `relu(normalised x + residual)` to `out`, all `[rows, C]`; ReLU and residual are optional.
    pub fn forward<T: Number>(
        &self,
        m: &M,
        x: At<T>,
        residual: Option<At<T>>,
        relu: bool,
        (out, rows): (At<T>, usize),
    ) -> Result<()> {
        let residual = residual.unwrap_or(At::none());
        let (count, wide) = packs(rows * self.c, self.c, &[x, residual, out])?;
        let (scale, shift) = (m.at(&self.scale), m.at(&self.shift));
        let args = args![x, residual, self.mean, scale, shift, relu, out, count, self.c as u32, wide];
        m.launch(Launch::items(KERNELS, named::<T>("norm_forward"), count as usize, args)?)
    }

    /// The gradient of `x` in `dx`, which may be `dy`, and those of gamma and beta.
    ///
    /// `y` is the output where a residual was added before a ReLU: `dy` then becomes the gradient of the residual. `batch`
    /// tells that the moments came from `x` itself, so that its gradient passes through them.
    pub fn backward<T: Number>(
        &self,
        m: &M,
        (x, rows): (At<T>, usize),
        y: Option<At<T>>,
        [dy, dx]: [At<T>; 2],
        (relu, batch): (bool, bool),
    ) -> Result<[M::Memory<f32>; 2]> {
        let c = self.c;
        let (per_part, count) = parts(rows);
        let (sums, centred) = (m.room::<f32>(count * c)?, m.room::<f32>(count * c)?);
        let (mean, scale, shift) = (self.mean, m.at(&self.scale), m.at(&self.shift));
        let (sums_at, centred_at) = (m.at(&sums), m.at(&centred));
        let sizes = (rows as i64, c as i64, per_part as i64);
        let from_y = y.unwrap_or(At::none());
        let args = args![x, from_y, dy, mean, scale, shift, relu, sizes.0, sizes.1, sizes.2, sums_at, centred_at];
        m.launch(Launch::tiles(KERNELS, named::<T>("norm_gradient_parts"), (c, count), args)?)?;
        let [d_gamma, d_beta, mean_g, slope] = [m.room(c)?, m.room(c)?, m.room(c)?, m.room::<f32>(c)?];
        let share = if batch { 1.0 / rows as f32 } else { 0.0 };
        let (mean_g_at, slope_at) = (m.at::<f32>(&mean_g), m.at(&slope));
        let found = (m.at::<f32>(&d_gamma), m.at::<f32>(&d_beta));
        let args = args![
            sums_at,
            centred_at,
            count as i64,
            sizes.1,
            share,
            m.at(&self.inv),
            found.0,
            found.1,
            mean_g_at,
            slope_at
        ];
        m.launch(Launch::tiles(KERNELS, "norm_gradient_merge", (c, 1), args)?)?;
        let (count, wide) = packs(rows * c, c, &[x, dy, dx])?;
        let relu = relu && y.is_none();
        let args = args![x, dy, mean, scale, shift, mean_g_at, slope_at, relu, dx, count, c as u32, wide];
        m.launch(Launch::items(KERNELS, named::<T>("norm_backward"), count as usize, args)?)?;
        Ok([d_gamma, d_beta])
    }
}

/// Moves a running statistic `[c]` towards the batch's: `keep * running + (1 - keep) * batch`.
pub fn launch_blend<M: Machine>(m: &M, running: At<f32>, batch: At<f32>, keep: f32, c: usize) -> Result<()> {
    m.launch(Launch::items(KERNELS, "norm_blend", c, args![running, batch, keep, c as i64])?)
}

/// What normalises, with the moments that it reads.
pub struct Normaliser {
    affine: Affine<Gpu>,
    _moments: [Tensor; 2],
}

impl Normaliser {
    /// From mean and variance; a missing gamma is 1, a missing beta 0.
    ///
    /// # Errors
    /// When memory is short.
    pub fn of(gpu: &Gpu, [mean, var]: [&Tensor; 2], [gamma, beta]: [Option<&Tensor>; 2], eps: f32) -> Result<Self> {
        let learned = [gamma.map(at).transpose()?, beta.map(at).transpose()?];
        let affine = affine(gpu, [at(mean)?, at(var)?], learned, eps, mean.elem_count())?;
        Ok(Self { affine, _moments: [mean.clone(), var.clone()] })
    }
}

/// Rows and columns of a map.
fn matrix(x: &Tensor) -> Result<(usize, usize)> {
    let c = x.dim(D::Minus1)?;
    Ok((x.elem_count() / c, c))
}

/// Mean and biased variance of each channel, each `[C]`.
///
/// # Errors
/// When memory is short.
pub fn moments(gpu: &Gpu, x: &Tensor) -> Result<[Tensor; 2]> {
    let (rows, c) = matrix(x)?;
    let found = by_element!(x, T => launch_moments(gpu, at::<T>(x)?, (rows, c)))?;
    Ok([gpu.tensor(found.mean, c), gpu.tensor(found.var, c)])
}

/// `relu(normalised x + residual)`; ReLU and residual are optional.
///
/// # Errors
/// When memory is short.
pub fn forward(
    gpu: &Gpu,
    normaliser: &Normaliser,
    x: &Tensor,
    residual: Option<&Tensor>,
    relu: bool,
) -> Result<Tensor> {
    let (rows, _) = matrix(x)?;
    by_element!(x, T => {
        let (out, to) = gpu.new_tensor::<T>(x.shape())?;
        normaliser.affine.forward(gpu, at::<T>(x)?, residual.map(at).transpose()?, relu, (to, rows))?;
        Ok(out)
    })
}

/// The gradient of `x`, where `keep` (else it is written over `dy`), and those of gamma and beta, as [`Affine::backward`].
///
/// # Errors
/// When memory is short.
pub fn backward(
    gpu: &Gpu,
    normaliser: &Normaliser,
    x: &Tensor,
    (y, keep): (Option<&Tensor>, bool),
    dy: &Tensor,
    flags: (bool, bool),
) -> Result<(Option<Tensor>, [Tensor; 2])> {
    let (rows, c) = matrix(x)?;
    by_element!(x, T => {
        let (dx, to) = match keep {
            true => gpu.new_tensor::<T>(x.shape()).map(|(dx, to)| (Some(dx), to))?,
            false => (None, at::<T>(dy)?),
        };
        let y = y.map(at::<T>).transpose()?;
        let sums = normaliser.affine.backward(gpu, (at(x)?, rows), y, [at(dy)?, to], flags)?;
        Ok((dx, sums.map(|sum| gpu.tensor(sum, c))))
    })
}

/// Moves a running statistic towards the batch's: `keep * running + (1 - keep) * batch`.
///
/// # Errors
/// When the two are on different devices.
pub fn blend(gpu: &Gpu, running: &Tensor, batch: &Tensor, keep: f32) -> Result<()> {
    launch_blend(gpu, at(running)?, at(batch)?, keep, running.elem_count())
}
