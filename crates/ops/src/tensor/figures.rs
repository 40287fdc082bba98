//! Scalars, and short lists of numbers, that stay on their device until they are read.

use crate::gpu::{Gpu, PendingRead};
use candle_core::{DType, Result, Tensor, bail};

/// Scalars that a GPU may still be working out: it goes on with what is launched next, and whoever reads waits for them
/// alone.
pub struct Figures(State);

enum State {
    Arrived(Vec<f64>),
    InFlight(PendingRead),
    Later(Box<dyn FnOnce() -> Result<Vec<f64>>>),
}

impl Figures {
    /// Asks for the numbers of scalars, f32 or f64, and of lists, f64, all on one device.
    ///
    /// # Errors
    /// When one is of another dtype.
    pub fn of(figures: &[&Tensor]) -> Result<Self> {
        if let Some(other) = figures.iter().find(|f| f.elem_count() != 1 && f.dtype() != DType::F64) {
            bail!("figures are scalars or f64, not a tensor of {:?} and shape {:?}", other.dtype(), other.shape())
        }
        if let Some(gpu) = figures.iter().find_map(|f| Gpu::of(f)) {
            return Ok(Self(State::InFlight(PendingRead::of(&gpu, figures)?)));
        }
        let mut numbers = Vec::new();
        for figure in figures {
            match figure.dtype() {
                DType::F64 => numbers.extend(figure.flatten_all()?.to_vec1::<f64>()?),
                _ => numbers.push(f64::from(figure.flatten_all()?.get(0)?.to_scalar::<f32>()?)),
            }
        }
        Ok(Self(State::Arrived(numbers)))
    }

    /// Numbers that `wait` brings, for whatever else works them out beside the host: a device of a caller's own, or one that
    /// takes its time in a test.
    pub fn later(wait: impl FnOnce() -> Result<Vec<f64>> + 'static) -> Self {
        Self(State::Later(Box::new(wait)))
    }

    /// Whether reading would not wait.
    pub fn are_here(&self) -> bool {
        matches!(self.0, State::Arrived(_))
    }

    /// The numbers, in the order of what was asked for.
    ///
    /// # Errors
    /// When the GPU failed at what it was doing.
    pub fn read(self) -> Result<Vec<f64>> {
        match self.0 {
            State::Arrived(numbers) => Ok(numbers),
            State::InFlight(pending) => pending.wait(),
            State::Later(wait) => wait(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::Figures;
    use crate::tensor::from_vec;

    #[test]
    fn what_comes_later_is_waited_for() {
        let figures = Figures::later(|| Ok(vec![4.0]));
        assert!(!figures.are_here());
        assert_eq!(figures.read().unwrap(), [4.0]);
    }

    #[test]
    fn figures_come_in_order() {
        let (a, b) = (from_vec(vec![1.5f32], ()).unwrap(), from_vec(vec![2.25f64], 1).unwrap());
        let list = from_vec(vec![3.0f64, 4.0], 2).unwrap();
        let figures = Figures::of(&[&a, &list, &b]).unwrap();
        assert!(figures.are_here());
        assert_eq!(figures.read().unwrap(), [1.5, 3.0, 4.0, 2.25]);
        assert!(Figures::of(&[&from_vec(vec![1f32, 2.0], 2).unwrap()]).is_err());
    }
}
