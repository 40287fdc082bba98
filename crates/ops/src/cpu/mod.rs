//! CPU kernels and what they share: slices of tensors, in-place updates, vectorised loops.

mod access;
mod amx;
mod bf16;
mod blocks;
pub(crate) mod channels;
pub(crate) mod conv;
pub(crate) mod gate;
mod loops;
pub(crate) mod maps;
pub(crate) mod matmul;
pub(crate) mod norm;
mod outer;
pub(crate) mod panels;
pub(crate) mod pool;
pub(crate) mod simd;
pub(crate) mod step;
pub(crate) mod wide;
pub(crate) mod window;
mod winograd;

pub use access::{add_assign, filled, from_vec, update, update_with, with_slice};
pub(crate) use access::{by_element, update_elements, update_elements_with, with_elements};
pub use simd::{FORCE, Unit, chosen_unit, vectorized};

/// What multiplies bf16 on this processor: `AMX-BF16`, `AVX512-BF16`, or nothing.
pub fn multiplies_bf16() -> Option<&'static str> {
    amx::unit().map(|unit| match unit {
        amx::Unit::Tiles => "AMX-BF16",
        amx::Unit::Dots => "AVX512-BF16",
    })
}
