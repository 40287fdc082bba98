//! Products of matrices and sums over windows on the CPU: blocks that registers hold, weights laid out for them, and how
//! maps of f32 and of bf16 are multiplied.

mod bf16;
mod blocks;
mod maps;
mod matmul;
mod panels;
mod runs;

pub use blocks::{Gradients, most_weights, outer, products};
pub use maps::{Maps, Pixels};
pub use matmul::{product, turned};
pub use panels::Panels;
pub use runs::{Run, Segment};
