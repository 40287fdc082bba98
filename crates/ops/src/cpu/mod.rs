//! CPU kernels and what they share: slices of tensors, in-place updates, vectorised loops.

mod access;
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_avx512.rs"]
mod avx512;
mod bf16;
pub(crate) mod channels;
pub(crate) mod conv;
pub(crate) mod gate;
pub(crate) mod gemm;
mod im2col;
mod loops;
mod maps;
pub(crate) mod norm;
mod outer;
mod panels;
pub(crate) mod pool;
pub(crate) mod step;
pub(crate) mod wide;
pub(crate) mod window;
mod winograd;

pub use access::{add_assign, filled, from_vec, update, update_with, with_slice};
pub(crate) use access::{by_element, update_elements, update_elements_with, with_elements};

/// What multiplies bf16 on this processor: `AMX-BF16`, `AVX512-BF16`, or nothing.
pub fn multiplies_bf16() -> Option<&'static str> {
    amx::unit().map(|unit| match unit {
        amx::Unit::Tiles => "AMX-BF16",
        amx::Unit::Dots => "AVX512-BF16",
    })
}

/// Runs `work` with the widest vector instructions of this processor: loops inside are compiled once for each
/// instruction set. `work` and what it calls must be `#[inline(always)]` for that.
#[inline(always)]
pub fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    struct Work<F>(F);
    impl<R, F: FnOnce() -> R> pulp::NullaryFnOnce for Work<F> {
        type Output = R;
        #[inline(always)]
        fn call(self) -> R {
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Work(work))
}
