//! How exact a GPU's convolutions are.

/// How a GPU's convolutions of f32 maps multiply; the CPU's are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// In f32.
    Exact,
    /// Factors may be rounded to TF32, 10 bits behind the point, which tensor cores multiply many times as fast.
    Tf32,
}
