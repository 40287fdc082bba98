//! Batch normalisation over rows `[R, C]`: as [`crate::cpu::norm`], by the kernels of `norm.cu`.

use super::machine::{At, Launch, Machine, Number, args, named, packs};
use candle_core::Result;

const SOURCE: &str = "norm";
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
pub struct Moments<M: Machine> {
    pub mean: M::Memory<f32>,
    pub var: M::Memory<f32>,
}

/// The moments of `x` `[rows, c]`.
pub fn moments<M: Machine, T: Number>(m: &M, x: At<T>, (rows, c): (usize, usize)) -> Result<Moments<M>> {
    let (per_part, count) = parts(rows);
    let (means, squares) = (m.room::<f32>(count * c)?, m.room::<f32>(count * c)?);
    let sizes = (rows as i64, c as i64, per_part as i64);
    m.launch(Launch::tiles(
        SOURCE,
        named::<T>("moments_parts"),
        (c, count),
        args![x, sizes.0, sizes.1, sizes.2, m.at(&means), m.at(&squares)],
    )?)?;
    let (mean, var) = (m.room::<f32>(c)?, m.room::<f32>(c)?);
    m.launch(Launch::tiles(
        SOURCE,
        "moments_merge",
        (c, 1),
        args![m.at(&means), m.at(&squares), count as i64, sizes.0, sizes.2, sizes.1, m.at(&mean), m.at(&var)],
    )?)?;
    Ok(Moments { mean, var })
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
        SOURCE,
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
        m.launch(Launch::items(SOURCE, named::<T>("norm_forward"), count as usize, args)?)
    }

    /// The gradient of `x` in `dx`, which may be `dy`, and those of gamma and beta; letters and flags as in
    /// [`crate::cpu::norm::Affine::backward`].
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
        m.launch(Launch::tiles(SOURCE, named::<T>("norm_gradient_parts"), (c, count), args)?)?;
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
        m.launch(Launch::tiles(SOURCE, "norm_gradient_merge", (c, 1), args)?)?;
        let (count, wide) = packs(rows * c, c, &[x, dy, dx])?;
        let relu = relu && y.is_none();
        let args = args![x, dy, mean, scale, shift, mean_g_at, slope_at, relu, dx, count, c as u32, wide];
        m.launch(Launch::items(SOURCE, named::<T>("norm_backward"), count as usize, args)?)?;
        Ok([d_gamma, d_beta])
    }
}

/// Moves a running statistic `[c]` towards the batch's: `keep * running + (1 - keep) * batch`.
pub fn blend<M: Machine>(m: &M, running: At<f32>, batch: At<f32>, keep: f32, c: usize) -> Result<()> {
    m.launch(Launch::items(SOURCE, "norm_blend", c, args![running, batch, keep, c as i64])?)
}
