//! A product of a convolution, and where what it multiplies stands.

use crate::conv::geometry::Geometry;
use candle_core::DType;

/// Which of a convolution's three products; the gradient of the input may be added to a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    Forward,
    Data,
    DataSum,
    Filter,
}

/// What an engine is chosen for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Problem {
    pub direction: Direction,
    pub g: Geometry,
    pub dtype: DType,
    /// Whether all maps begin at multiples of [`ALIGNMENT`], as graphs are told.
    pub aligned: bool,
}

/// Bytes that addresses are multiples of.
pub(super) const ALIGNMENT: u64 = 16;

/// Where the maps `x` and `y` and the weights `w` of a convolution stand, or the gradient that takes the place of one.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub x: u64,
    pub w: u64,
    pub y: u64,
}

impl Operands {
    pub fn aligned(&self) -> bool {
        [self.x, self.w, self.y].iter().all(|address| address % ALIGNMENT == 0)
    }

    /// Those of the images from `start` on.
    pub fn from(self, g: &Geometry, start: usize, element: usize) -> Self {
        let bytes = |pixels: usize| (start * pixels * element) as u64;
        Self { x: self.x + bytes(g.h * g.w * g.c), w: self.w, y: self.y + bytes(g.oh * g.ow * g.o) }
    }
}
