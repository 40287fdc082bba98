//! Batch normalisation over rows `[R, C]` on a GPU, by the kernels of `kernel.cu`.

use super::ranks::Batch;
use crate::collective::Group;
use crate::gpu::machine::{At, Kernels, Launch, Machine, Number, args, kernels, named};
use crate::gpu::tiles::{MOST_PARTS, Mask, Tiling};
use crate::gpu::{Gpu, at};
use crate::tensor::access::by_element;
use crate::tensor::gpu::launch_scale_by;
use candle_core::{D, Result, Tensor};

const KERNELS: Kernels = kernels!("norm");
/// Rows of a part that a thread takes at least: two times what it loads at once.
const FEWEST_ROWS: usize = 16;

/// How rows are cut into parts with partial results of their own: rows of a part, and parts. By the shape alone, so that
/// sums are the same on every GPU.
fn parts(rows: usize, tiling: &Tiling) -> (usize, usize) {
    let per_part = rows.div_ceil(MOST_PARTS).next_multiple_of(FEWEST_ROWS * tiling.rows_at_once());
    (per_part, rows.div_ceil(per_part))
}

/// Mean and biased variance of each channel, `[C]`.
pub struct Found<M: Machine> {
    pub mean: M::Memory<f32>,
    pub var: M::Memory<f32>,
}

/// What a normalisation takes besides moments: gamma and beta, where there are any, and what is added to the variance.
#[derive(Clone, Copy)]
pub struct Learned {
    pub gamma: Option<At<f32>>,
    pub beta: Option<At<f32>>,
    pub eps: f32,
}

/// Running statistics to be moved towards a batch's, and the share of the old ones that they keep.
#[derive(Clone, Copy)]
pub struct Moving {
    pub mean: At<f32>,
    pub var: At<f32>,
    pub keep: f32,
}

/// The arguments that every kernel takes which finds what normalises.
macro_rules! affine_args {
    ($learned:expr, $moving:expr, $c:expr, $affine:expr, $($first:expr),*) => {{
        let (Learned { gamma, beta, eps }, none) = ($learned, At::none());
        let (mean, var, keep) = $moving.map_or((none, none, 0.0), |m: Moving| (m.mean, m.var, m.keep));
        args![$($first,)* gamma.unwrap_or(none), beta.unwrap_or(none), eps, $c as u32, $affine, mean, var, keep]
    }};
}

/// What normalises: `y = (x - mean) * scale + shift`, one value a channel.
pub struct Affine<M: Machine> {
    c: usize,
    mean: At<f32>,
    /// 1 / deviation, scale and shift, one after the other.
    terms: M::Memory<f32>,
}

/// Means of parts of the rows and squares around them, `[parts, C]` each.
struct Parts<M: Machine> {
    found: M::Memory<f32>,
    /// Parts, rows in all, and rows of a part.
    sizes: [u32; 3],
    c: usize,
}

impl<M: Machine> Parts<M> {
    fn of<T: Number>(m: &M, x: At<T>, (rows, c): (usize, usize)) -> Result<Self> {
        let tiling = Tiling::of(rows, c, &[x])?;
        let (per_part, count) = parts(rows, &tiling);
        let parts = Self { found: m.room::<f32>(2 * count * c)?, sizes: [count, rows, per_part].map(|v| v as u32), c };
        let ([means, squares], [packs, side, tiles]) = (parts.at(m), tiling.args());
        let args = args![x, rows as u32, packs, side, tiles, per_part as u32, tiling.wide, means, squares];
        m.launch(tiling.launch(KERNELS, named::<T>("moments_parts"), count, args)?)?;
        Ok(parts)
    }

    fn at(&self, m: &M) -> [At<f32>; 2] {
        [m.at(&self.found), m.at(&self.found).plus(self.sizes[0] as usize * self.c)]
    }
}

/// The moments of `x` `[rows, c]`, and what normalises by them, while they are kept.
pub fn launch_moments<M: Machine, T: Number>(
    m: &M,
    x: At<T>,
    (rows, c): (usize, usize),
    learned: Learned,
    moving: Option<Moving>,
) -> Result<(Found<M>, Affine<M>)> {
    let parts = Parts::of(m, x, (rows, c))?;
    let ([means, squares], sizes) = (parts.at(m), parts.sizes);
    let (mean, var, terms) = (m.room::<f32>(c)?, m.room::<f32>(c)?, m.room::<f32>(3 * c)?);
    let (mean_at, var_at) = (m.at(&mean), m.at(&var));
    let args =
        affine_args!(learned, moving, c, m.at(&terms), means, squares, sizes[0], sizes[1], sizes[2], mean_at, var_at);
    m.launch(Launch::merge(KERNELS, "moments_merge", c, args)?)?;
    Ok((Found { mean, var }, Affine { c, mean: mean_at, terms }))
}

/// Numbers that a rank tells the others of its rows, of `c` channels.
pub fn told(c: usize) -> usize {
    1 + 2 * c
}

/// What a rank tells the others of its part `x` `[rows, c]`: the number of rows, mean and squares around it of each channel.
pub fn launch_tell<M: Machine, T: Number>(m: &M, x: At<T>, (rows, c): (usize, usize)) -> Result<M::Memory<f64>> {
    let parts = Parts::of(m, x, (rows, c))?;
    let ([means, squares], sizes, to) = (parts.at(m), parts.sizes, m.room::<f64>(told(c))?);
    let args = args![means, squares, sizes[0], sizes[1], sizes[2], c as u32, m.at(&to)];
    m.launch(Launch::merge(KERNELS, "moments_tell", c, args)?)?;
    Ok(to)
}

/// Moments of all ranks' rows, what normalises by them, and 1 / the number of rows.
pub type OfRanks<M> = (Found<M>, Affine<M>, <M as Machine>::Memory<f32>);

/// As [`launch_moments`], of all ranks' rows, from what each has told; and 1 / the number of rows.
pub fn launch_moments_of_ranks<M: Machine>(
    m: &M,
    (all, ranks): (At<f64>, usize),
    c: usize,
    learned: Learned,
    moving: Option<Moving>,
) -> Result<OfRanks<M>> {
    let (mean, var, terms, share) = (m.room::<f32>(c)?, m.room::<f32>(c)?, m.room::<f32>(3 * c)?, m.room::<f32>(1)?);
    let at = [&mean, &var, &share].map(|memory| m.at(memory));
    let args = affine_args!(learned, moving, c, m.at(&terms), all, ranks as u32, at[0], at[1], at[2]);
    m.launch(Launch::items(KERNELS, "moments_of_ranks", c, args)?)?;
    Ok((Found { mean, var }, Affine { c, mean: at[0], terms }, share))
}

/// What a backward pass has found, and how it goes on.
pub struct Sums<M: Machine> {
    /// The gradients of gamma and beta.
    pub learned: [M::Memory<f32>; 2],
    tiling: Tiling,
    relu: bool,
}

/// What normalises by moments that are there, which the caller keeps.
pub fn affine<M: Machine>(
    m: &M,
    [mean, var]: [At<f32>; 2],
    learned: Learned,
    moving: Option<Moving>,
    c: usize,
) -> Result<Affine<M>> {
    let terms = m.room::<f32>(3 * c)?;
    let args = affine_args!(learned, moving, c, m.at(&terms), mean, var);
    m.launch(Launch::items(KERNELS, "norm_affine", c, args)?)?;
    Ok(Affine { c, mean, terms })
}

impl<M: Machine> Affine<M> {
    /// Tiles of maps; the vectors of channels are read by packs, too.
    fn tiling<T: Number>(&self, m: &M, rows: usize, maps: &[At<T>]) -> Result<Tiling> {
        let vectors = [self.mean.0, m.at(&self.terms).0].map(At::new);
        Tiling::of(rows, self.c, &[maps, &vectors].concat())
    }

    /// `relu(normalised x + residual)` to `out`, all `[rows, C]`; ReLU and residual are optional. With `masked` comes which
    /// elements ReLU let through.
    pub fn forward<T: Number>(
        &self,
        m: &M,
        x: At<T>,
        residual: Option<At<T>>,
        (relu, masked): (bool, bool),
        (out, rows): (At<T>, usize),
    ) -> Result<Option<Mask<M>>> {
        let residual = residual.unwrap_or(At::none());
        let tiling = self.tiling(m, rows, &[x, residual, out])?;
        let mask = if masked { Some(Mask::new::<T>(m, tiling.all_packs(), tiling.wide)?) } else { None };
        let (bits, [packs, side, tiles]) = (mask.as_ref().map_or(At::none(), |mask| mask.at(m)), tiling.args());
        let (terms, rows) = (m.at(&self.terms), rows as u32);
        let ((per_part, count), wide) = (tiling.spread(), tiling.wide);
        let per_part = per_part as u32;
        let args = args![x, residual, self.mean, terms, relu, rows, packs, side, tiles, per_part, wide, out, bits];
        m.launch(tiling.launch(KERNELS, named::<T>("norm_forward"), count, args)?)?;
        Ok(mask)
    }

    /// The gradient of `x` in `dx`, which may be `dy`, and those of gamma and beta.
    ///
    /// `mask` is there where a residual was added before a ReLU: `dy` then becomes the gradient of the residual. `batch`
    /// tells that the moments came from `x` itself, so that its gradient passes through them.
    pub fn backward<T: Number>(
        &self,
        m: &M,
        (x, rows): (At<T>, usize),
        mask: Option<&Mask<M>>,
        [dy, dx]: [At<T>; 2],
        (relu, batch): (bool, bool),
    ) -> Result<[M::Memory<f32>; 2]> {
        let share = if batch { 1.0 / rows as f32 } else { 0.0 };
        let (sums, merged) = self.sums(m, (x, rows), mask, [dy, dx], (relu, share))?;
        self.passed(m, (x, rows), &sums, m.at(&merged), [dy, dx])?;
        Ok(sums.learned)
    }

    /// As [`Affine::backward`] up to the sums over rows; those that the gradient of `x` takes, `share` times, come apart,
    /// `[2, C]`.
    pub fn sums<T: Number>(
        &self,
        m: &M,
        (x, rows): (At<T>, usize),
        mask: Option<&Mask<M>>,
        [dy, dx]: [At<T>; 2],
        (relu, share): (bool, f32),
    ) -> Result<(Sums<M>, M::Memory<f32>)> {
        let (c, mean, terms) = (self.c, self.mean, m.at(&self.terms));
        let mut tiling = self.tiling(m, rows, &[x, dy, dx])?;
        if mask.is_some_and(Mask::is_narrow) {
            // Written element by element, it is read so.
            tiling = Tiling::narrow(rows, c)?;
        }
        let (per_part, count) = parts(rows, &tiling);
        let found = m.room::<f32>(2 * count * c)?;
        let (sums, centred) = (m.at(&found), m.at(&found).plus(count * c));
        let ([packs, side, tiles], wide, rows) = (tiling.args(), tiling.wide, rows as u32);
        let (bits, lanes) = mask.map_or((At::none(), 1), |mask| (mask.at(m), mask.lanes()));
        let per_part = per_part as u32;
        let args =
            args![x, bits, lanes, dy, mean, terms, relu, rows, packs, side, tiles, per_part, wide, sums, centred];
        m.launch(tiling.launch(KERNELS, named::<T>("norm_gradient_parts"), count, args)?)?;
        let (d_gamma, d_beta, merged) = (m.room::<f32>(c)?, m.room::<f32>(c)?, m.room::<f32>(2 * c)?);
        let to = [&d_gamma, &d_beta, &merged].map(|memory| m.at(memory));
        let args = args![sums, centred, count as u32, c as u32, share, terms, to[0], to[1], to[2]];
        m.launch(Launch::merge(KERNELS, "norm_gradient_merge", c, args)?)?;
        Ok((Sums { learned: [d_gamma, d_beta], tiling, relu: relu && mask.is_none() }, merged))
    }

    /// The gradient of `x` in `dx`, by the sums over rows that stand at `merged`.
    pub fn passed<T: Number>(
        &self,
        m: &M,
        (x, rows): (At<T>, usize),
        sums: &Sums<M>,
        merged: At<f32>,
        [dy, dx]: [At<T>; 2],
    ) -> Result<()> {
        let (tiling, mean, terms) = (&sums.tiling, self.mean, m.at(&self.terms));
        let ((per_part, count), [packs, side, tiles]) = (tiling.spread(), tiling.args());
        let (per_part, rows) = (per_part as u32, rows as u32);
        let args = args![x, dy, mean, terms, merged, sums.relu, rows, packs, side, tiles, per_part, tiling.wide, dx];
        m.launch(tiling.launch(KERNELS, named::<T>("norm_backward"), count, args)?)
    }
}

/// Moves running mean and variance `[c]` towards the batch's: `keep * running + (1 - keep) * batch`.
pub fn launch_blend<M: Machine>(m: &M, moving: Moving, batch: [At<f32>; 2], c: usize) -> Result<()> {
    let args = args![moving.mean, moving.var, batch[0], batch[1], moving.keep, c as u32];
    m.launch(Launch::items(KERNELS, "norm_blend", c, args)?)
}

/// What normalises, with the moments that it reads.
pub struct Normaliser {
    affine: Affine<Gpu>,
    _moments: [Tensor; 2],
    /// 1 / the rows of all ranks, where there are several.
    share: Option<Tensor>,
}

fn learned([gamma, beta]: [Option<&Tensor>; 2], eps: f32) -> Result<Learned> {
    Ok(Learned { gamma: gamma.map(at).transpose()?, beta: beta.map(at).transpose()?, eps })
}

fn moving(running: Option<([&Tensor; 2], f32)>) -> Result<Option<Moving>> {
    running.map(|([mean, var], keep)| Ok(Moving { mean: at(mean)?, var: at(var)?, keep })).transpose()
}

impl Normaliser {
    /// By the moments of `x`, mean and variance of each channel, which come back. Running statistics move towards them; a
    /// missing gamma is 1, a missing beta 0.
    ///
    /// # Errors
    /// When memory is short.
    pub fn of_batch(
        gpu: &Gpu,
        x: &Tensor,
        given: [Option<&Tensor>; 2],
        eps: f32,
        running: Option<([&Tensor; 2], f32)>,
    ) -> Result<(Self, [Tensor; 2])> {
        let (rows, c) = matrix(x)?;
        let (learned, moving) = (learned(given, eps)?, moving(running)?);
        let (found, affine) = by_element!(x, T => launch_moments(gpu, at::<T>(x)?, (rows, c), learned, moving))?;
        let moments = [gpu.tensor(found.mean, c), gpu.tensor(found.var, c)];
        Ok((Self { affine, _moments: moments.clone(), share: None }, moments))
    }

    /// As [`Normaliser::of_batch`], by the moments of all ranks' rows. What the ranks tell one another stays on the GPUs, with
    /// the numbers of their rows, and is merged in the order of ranks.
    ///
    /// # Errors
    /// When memory is short, or a rank has ended.
    pub fn of_ranks(
        gpu: &Gpu,
        (x, group): (&Tensor, &Group),
        given: [Option<&Tensor>; 2],
        eps: f32,
        running: Option<([&Tensor; 2], f32)>,
    ) -> Result<(Self, [Tensor; 2])> {
        let (rows, c) = matrix(x)?;
        let own = by_element!(x, T => launch_tell(gpu, at::<T>(x)?, (rows, c)))?;
        let all = group.all_gather(&gpu.tensor(own, told(c)))?;
        let of_all = (at(&all)?, group.size());
        let (found, affine, share) = launch_moments_of_ranks(gpu, of_all, c, learned(given, eps)?, moving(running)?)?;
        let moments = [gpu.tensor(found.mean, c), gpu.tensor(found.var, c)];
        let share = Some(gpu.tensor(share, ()));
        Ok((Self { affine, _moments: moments.clone(), share }, moments))
    }

    /// By mean and variance that are there; otherwise as [`Normaliser::of_batch`].
    ///
    /// # Errors
    /// When memory is short.
    pub fn of(
        gpu: &Gpu,
        [mean, var]: [&Tensor; 2],
        given: [Option<&Tensor>; 2],
        eps: f32,
        running: Option<([&Tensor; 2], f32)>,
    ) -> Result<Self> {
        let (learned, moving) = (learned(given, eps)?, moving(running)?);
        let affine = affine(gpu, [at(mean)?, at(var)?], learned, moving, mean.elem_count())?;
        Ok(Self { affine, _moments: [mean.clone(), var.clone()], share: None })
    }
}

/// Rows and columns of a map.
fn matrix(x: &Tensor) -> Result<(usize, usize)> {
    let c = x.dim(D::Minus1)?;
    Ok((x.elem_count() / c, c))
}

/// `relu(normalised x + residual)`; ReLU and residual are optional. With `masked` comes which elements ReLU let through.
///
/// # Errors
/// When memory is short.
pub fn forward(
    gpu: &Gpu,
    normaliser: &Normaliser,
    x: &Tensor,
    residual: Option<&Tensor>,
    flags: (bool, bool),
) -> Result<(Tensor, Option<Mask<Gpu>>)> {
    let (rows, _) = matrix(x)?;
    by_element!(x, T => {
        let (out, to) = gpu.new_tensor::<T>(x.shape())?;
        let mask = normaliser.affine.forward(gpu, at::<T>(x)?, residual.map(at).transpose()?, flags, (to, rows))?;
        Ok((out, mask))
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
    (mask, keep): (Option<&Mask<Gpu>>, bool),
    dy: &Tensor,
    (relu, batch): (bool, Option<&Batch>),
) -> Result<(Option<Tensor>, [Tensor; 2])> {
    let (rows, c) = matrix(x)?;
    let affine = &normaliser.affine;
    by_element!(x, T => {
        let (dx, to) = match keep {
            true => gpu.new_tensor::<T>(x.shape()).map(|(dx, to)| (Some(dx), to))?,
            false => (None, at::<T>(dy)?),
        };
        let (input, gradients) = ((at(x)?, rows), [at(dy)?, to]);
        let learned = match (batch, &normaliser.share) {
            (Some(batch), Some(share)) => {
                // Gamma's and beta's are this rank's own: they are summed with all gradients.
                let (sums, merged) = affine.sums(gpu, input, mask, gradients, (relu, 1.0))?;
                let merged = gpu.tensor(merged, 2 * c);
                batch.group.all_reduce(&merged)?;
                launch_scale_by(gpu, at(&merged)?, 2 * c, at(share)?)?;
                affine.passed(gpu, input, &sums, at(&merged)?, gradients)?;
                sums.learned
            }
            _ => affine.backward(gpu, input, mask, gradients, (relu, batch.is_some()))?,
        };
        Ok((dx, learned.map(|sum| gpu.tensor(sum, c))))
    })
}

/// Moves running mean and variance towards the batch's: `keep * running + (1 - keep) * batch`.
///
/// # Errors
/// When they are on different devices.
pub fn blend(gpu: &Gpu, running: [&Tensor; 2], batch: [&Tensor; 2], keep: f32) -> Result<()> {
    let [mean, var] = running;
    let moving = Moving { mean: at(mean)?, var: at(var)?, keep };
    launch_blend(gpu, moving, [at(batch[0])?, at(batch[1])?], mean.elem_count())
}
