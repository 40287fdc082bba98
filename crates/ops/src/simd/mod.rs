//! Sixteen floats at a time on any processor, with the same bits on each: one AVX-512 register, two of AVX2, four of
//! NEON, or an array; maps stored as f32 or bf16; and loops over them.
//!
//! Kernels are generic over [`Wide`] and [`Element`] and run inside [`wide`], which compiles them once for each unit. Left
//! to itself the compiler guarded every loop over several maps with checks for overlap, and then ran it on single floats.

pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod channels;
mod element;
mod loops;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(test)]
mod tests;
mod unit;
mod vector;

pub(crate) use element::Element;
pub(crate) use loops::{at, map, padded, sums, update};
pub(crate) use unit::wide;
pub use unit::{FORCE, Unit, chosen_unit, vectorized};
pub(crate) use vector::{Kernel, LANES, Wide};

/// What multiplies bf16 on this processor: `AMX-BF16`, `AVX512-BF16`, or nothing.
pub fn multiplies_bf16() -> Option<&'static str> {
    amx::unit().map(|unit| match unit {
        amx::Unit::Tiles => "AMX-BF16",
        amx::Unit::Dots => "AVX512-BF16",
    })
}
