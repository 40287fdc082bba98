//! Channels-last tensor operations with gradients on a small tape.
//!
//! Letters: `N` images, `H` `W` height and width, `C` channels; `O` output channels, `K` the side of a kernel;
//! `R` rows and `D` columns of a matrix. Feature maps are `[N, H, W, C]` f32, contiguous; convolution weights are
//! `[O, K, K, C]` in memory (`[O, C, K, K]` on disk); linear weights are `[O, D]`.

pub mod cpu;
pub mod tape;

pub use tape::{Gradients, NodeId, Tape, Value};
