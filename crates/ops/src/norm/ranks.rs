//! Moments of a batch whose parts are on several ranks' CPUs.

use crate::collective::Group;
use candle_core::{DType, Device, Result, Tensor};

/// The batch that moments are of.
pub struct Batch {
    /// Rows of all ranks; on a GPU, which keeps their number, this rank's.
    pub rows: usize,
    /// The ranks that have them.
    pub group: Group,
}

/// The moments of all ranks' rows, `[C]` each, from those of this rank's `rows`; and how many rows there are in all. Merged in
/// f64 in the order of ranks (Chan, Golub and LeVeque 1979), so that all ranks have the same bits.
///
/// # Errors
/// When a rank has ended.
pub fn merged(group: &Group, own: [&Tensor; 2], rows: usize) -> Result<([Tensor; 2], usize)> {
    let read = |t: &Tensor| t.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (mean, var) = (read(own[0])?, read(own[1])?);
    let c = mean.len();
    let message = Tensor::from_vec([vec![rows as f64], mean, var].concat(), 1 + 2 * c, &Device::Cpu)?;
    let all = group.all_gather(&message)?.to_vec2::<f64>()?;
    let total: f64 = all.iter().map(|rank| rank[0]).sum();
    let one = |j: usize| {
        let of = |rank: &[f64]| (rank[0], rank[1 + j], rank[1 + c + j]);
        let mean = all.iter().map(|rank| of(rank)).map(|(n, mean, _)| n * mean).sum::<f64>() / total;
        let around = all.iter().map(|rank| of(rank)).map(|(n, m, var)| n * (var + (m - mean) * (m - mean)));
        (mean as f32, (around.sum::<f64>() / total) as f32)
    };
    let (mean, var): (Vec<f32>, Vec<f32>) = (0..c).map(one).unzip();
    let tensor = |v: Vec<f32>| Tensor::from_vec(v, c, &Device::Cpu);
    Ok(([tensor(mean)?, tensor(var)?], total as usize))
}

/// Sums over ranks of what each found of its own rows, two values a channel.
///
/// # Errors
/// When a rank has ended.
pub fn summed(group: &Group, [a, b]: [&[f32]; 2]) -> Result<[Vec<f32>; 2]> {
    let both = Tensor::from_vec([a, b].concat(), a.len() + b.len(), &Device::Cpu)?;
    group.all_reduce(&both)?;
    let mut both = both.to_vec1::<f32>()?;
    let second = both.split_off(a.len());
    Ok([both, second])
}
