//! Help for the tests of operations, and tests of several of them together.

#[cfg(unix)]
mod barriers;
mod bf16;
mod candle;
#[cfg(unix)]
pub mod emulated;
#[cfg(all(unix, feature = "cuda"))]
pub mod faults;
pub mod gradients;
pub mod numbers;
pub mod ranks;
mod recompute;
mod streams;
mod together;
