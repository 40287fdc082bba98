//! Figures beside a loss: scalars that stay on their device, and how they are read without making a GPU wait.

use crate::cpu::with_slice;
use candle_core::{DType, Result, Tensor, bail};

/// How many rows of `logits` `[R, D]`, row-major, have their label among the `k` largest values. Of equal values the one
/// that stands first wins, and a row with a value that is not a number counts as wrong.
pub fn top_k(logits: &[f32], classes: usize, labels: impl IntoIterator<Item = Option<u32>>, k: usize) -> usize {
    let hit = |(row, label): (&[f32], Option<u32>)| {
        let Some(label) = label.map(|l| l as usize) else { return false };
        let own = row[label];
        let before =
            row.iter().enumerate().filter(|&(j, v)| *v > own || (*v == own && j < label) || v.is_nan()).count();
        !own.is_nan() && before < k
    };
    logits.chunks_exact(classes).zip(labels).filter(|pair| hit(*pair)).count()
}

/// The share of the labeled rows of `logits` `[R, D]` whose label is among the `k` largest values (see [`top_k`]), an f64
/// scalar where the logits are; NaN where no row has a label.
///
/// # Errors
/// When there is not one label a row, or a label is not below `D`.
pub fn accuracy(logits: &Tensor, labels: &[Option<u32>], k: usize) -> Result<Tensor> {
    let d = check_labels("accuracy", logits, labels)?;
    let known = labels.iter().flatten().count();
    on_gpu!(logits, crate::cuda::tape::accuracy(logits, labels, k, known));
    let hits = with_slice(logits, |l| Ok(top_k(l, d, labels.iter().copied(), k)))?;
    Tensor::new(hits as f64 / known as f64, logits.device())
}

/// Checks labels against logits `[R, D]`; gives `D`.
pub(crate) fn check_labels(what: &str, logits: &Tensor, labels: &[Option<u32>]) -> Result<usize> {
    let (r, d) = logits.dims2()?;
    if labels.len() != r {
        bail!("{what}: {} labels for {r} rows", labels.len())
    }
    match labels.iter().flatten().find(|l| **l as usize >= d) {
        Some(bad) => bail!("{what}: label {bad} for {d} classes"),
        None => Ok(d),
    }
}

/// Scalars that a GPU may still be working out: it goes on with what is launched next, and whoever reads waits for them
/// alone.
pub struct Figures(Kept);

enum Kept {
    Here(Vec<f64>),
    #[cfg(feature = "cuda")]
    OnTheWay(crate::cuda::transfer::Reading),
}

impl Figures {
    /// Asks for the numbers of scalars, f32 or f64, all on one device.
    ///
    /// # Errors
    /// When one is no scalar, or of another dtype.
    pub fn of(scalars: &[&Tensor]) -> Result<Self> {
        if let Some(other) = scalars.iter().find(|s| s.elem_count() != 1) {
            bail!("a figure is one number, not a tensor of shape {:?}", other.shape())
        }
        #[cfg(feature = "cuda")]
        if scalars.iter().any(|s| s.device().is_cuda()) {
            return Ok(Self(Kept::OnTheWay(crate::cuda::transfer::Reading::of(scalars)?)));
        }
        let one = |s: &&Tensor| match s.dtype() {
            DType::F64 => s.flatten_all()?.get(0)?.to_scalar::<f64>(),
            _ => Ok(f64::from(s.flatten_all()?.get(0)?.to_scalar::<f32>()?)),
        };
        Ok(Self(Kept::Here(scalars.iter().map(one).collect::<Result<_>>()?)))
    }

    /// Whether reading would not wait.
    pub fn are_here(&self) -> bool {
        matches!(self.0, Kept::Here(_))
    }

    /// The numbers, in the order of the scalars.
    ///
    /// # Errors
    /// When the GPU failed at what it was doing.
    pub fn read(self) -> Result<Vec<f64>> {
        match self.0 {
            Kept::Here(numbers) => Ok(numbers),
            #[cfg(feature = "cuda")]
            Kept::OnTheWay(reading) => reading.wait(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cpu::from_vec;

    #[test]
    fn ties_and_nan() {
        let logits = [0.1, 0.9, 0.5, 1.0, 1.0, 0.0, f32::NAN, 0.0, 0.0];
        let hits = |labels: [u32; 3], k| top_k(&logits, 3, labels.map(Some), k);
        assert_eq!(hits([1, 0, 0], 1), 2);
        assert_eq!(hits([2, 1, 1], 1), 0);
        assert_eq!(hits([2, 1, 0], 2), 2);
    }

    #[test]
    fn shares_are_of_the_labeled_rows() {
        let logits = from_vec(vec![0.0f32, 1.0, 1.0, 0.0, 3.0, 2.0], (3, 2)).unwrap();
        let share = |labels: [Option<u32>; 3]| accuracy(&logits, &labels, 1).unwrap().to_scalar::<f64>().unwrap();
        assert_eq!(share([Some(1), Some(1), Some(0)]), 2.0 / 3.0);
        assert_eq!(share([None, Some(1), Some(0)]), 0.5);
        assert!(share([None; 3]).is_nan());
        assert!(accuracy(&logits, &[Some(2), None, None], 1).unwrap_err().to_string().contains("label 2"));
    }

    #[test]
    fn figures_come_in_order() {
        let (a, b) = (from_vec(vec![1.5f32], ()).unwrap(), from_vec(vec![2.25f64], 1).unwrap());
        let figures = Figures::of(&[&a, &b]).unwrap();
        assert!(figures.are_here());
        assert_eq!(figures.read().unwrap(), [1.5, 2.25]);
        assert!(Figures::of(&[&from_vec(vec![1f32, 2.0], 2).unwrap()]).is_err());
    }
}
