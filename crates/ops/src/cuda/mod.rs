//! Kernels for NVIDIA GPUs, and the code that launches them.
//!
//! The launching code is generic over a [`machine::Machine`]: a GPU, or in tests the processor, where an emulator runs
//! the same kernels from the same launches. So shapes of grids, orders of arguments and barriers are tested without a GPU.

// Without a GPU only the tests call what launches.
#![cfg_attr(not(feature = "cuda"), allow(dead_code))]

pub(crate) mod augment;
#[cfg(feature = "cuda")]
pub(crate) mod conv;
#[cfg(test)]
mod emulated;
pub(crate) mod gate;
#[cfg(feature = "cuda")]
pub(crate) mod gpu;
pub(crate) mod loss;
pub(crate) mod machine;
pub(crate) mod norm;
pub(crate) mod optimizer;
pub(crate) mod pool;
#[cfg(feature = "cuda")]
pub(crate) mod step;
#[cfg(feature = "cuda")]
pub(crate) mod tape;
#[cfg(feature = "cuda")]
pub(crate) mod transfer;
