//! CPU kernels and what they share: slices of tensors, in-place updates, vectorised loops.

mod access;
pub(crate) mod channels;
pub(crate) mod conv;
pub(crate) mod direct;
pub(crate) mod gemm;
pub(crate) mod norm;
pub(crate) mod pool;

pub use access::{add_assign, filled, from_vec, update, update_with, with_slice};

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
