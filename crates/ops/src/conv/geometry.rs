//! The shapes of one convolution.

/// The geometry of one convolution; letters as in the crate's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Geometry {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub o: usize,
    pub k: usize,
    pub stride: usize,
    /// Zero rows above and columns to the left.
    pub before: usize,
    /// Output height and width.
    pub oh: usize,
    pub ow: usize,
}

impl Geometry {
    /// Floats of a window.
    pub fn patch(&self) -> usize {
        self.k * self.k * self.c
    }

    /// Output pixels.
    pub fn pixels(&self) -> usize {
        self.n * self.oh * self.ow
    }
}
