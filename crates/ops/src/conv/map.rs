//! The map that a convolution reads.

use crate::norm::cpu::Affine;
use candle_core::Tensor;
use std::rc::Rc;

/// A map `[N, H, W, C]`, or one whose normalisation is applied as it is read.
#[derive(Clone)]
pub struct Map {
    /// The numbers.
    pub tensor: Tensor,
    /// A normalisation with ReLU that is still to be applied; on the CPU alone.
    pub affine: Option<Rc<Affine>>,
}
