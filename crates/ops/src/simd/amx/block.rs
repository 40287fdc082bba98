//! The operands of a product of bf16 blocks.

use half::bf16;

/// Rows and columns of a block, and steps of the depth in one turn.
pub const SIDE: usize = 32;

/// Where the right side's numbers stand: pairs of a step are `row` apart, those of the next [`SIDE`] steps `next` apart,
/// the second half of the columns `second` apart from the first.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    pub row: usize,
    pub next: usize,
    pub second: usize,
}

/// A block's operands.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// [`SIDE`] rows, `step` apart.
    pub left: &'a [bf16],
    pub step: usize,
    pub right: &'a [bf16],
    pub pairs: Pairs,
    /// Depth over [`SIDE`].
    pub turns: usize,
}
