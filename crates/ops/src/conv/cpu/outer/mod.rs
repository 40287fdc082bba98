//! The gradient of weights in f32, for multiples of sixteen channels: sums of outer products, in blocks that registers
//! hold.
//!
//! A task's windows and gradients are first copied to blocks of some channels of all its pixels. In maps the pixels of
//! a block lie far apart: each would cost a line of the cache for a part of it, and few sets of the cache would hold them.

mod sums;
mod taps;

pub use sums::{Layout, Outer, Sums, sums, width};
pub use taps::{serves, weight_gradient};
