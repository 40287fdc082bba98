//! Where the windows of a sum stand in memory.

/// Consecutive output pixels whose windows follow one another at a constant step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where the first window starts in the source, in floats.
    pub source: usize,
    /// Where the first output pixel stands, in floats.
    pub out: usize,
    /// Pixels.
    pub len: usize,
}

/// Contiguous floats of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From the window's start.
    pub offset: usize,
    /// How many.
    pub depth: usize,
}
