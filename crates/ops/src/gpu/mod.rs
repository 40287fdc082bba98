//! GPUs: tensors on them, launches of kernels, and numbers on their way to them and back.
//!
//! An op's launching code is generic over a [`machine::Machine`]: a GPU, or in tests the processor, where an emulator runs
//! the same kernels from the same launches. So shapes of grids, orders of arguments and barriers are tested without a GPU.
//! Without the feature `cuda` a [`Gpu`] is a type without values: ops need not know which build they are in.

#[cfg(not(feature = "cuda"))]
mod absent;
#[cfg(feature = "cuda")]
mod device;
pub(crate) mod machine;
mod memory;
#[cfg(feature = "cuda")]
mod pinned;
mod precision;
pub(crate) mod tiles;
#[cfg(feature = "cuda")]
mod transfer;

#[cfg(not(feature = "cuda"))]
pub(crate) use absent::{Gpu, PendingRead, PendingUpload, UploadStream, at};
#[cfg(feature = "cuda")]
pub(crate) use device::{Gpu, at};
#[cfg(feature = "cuda")]
pub use device::{count, open};
pub use memory::memory_taken;
pub use precision::Precision;
#[cfg(feature = "cuda")]
pub(crate) use transfer::{PendingRead, PendingUpload, UploadStream};

/// Calls an op's kernel where a tensor is: `cpu::kernel(...)`, or `gpu::kernel(&gpu, ...)`, which take the same arguments
/// and give the same results.
macro_rules! dispatch {
    ($tensor:expr => $kernel:ident($($argument:expr),* $(,)?)) => {
        match $crate::gpu::Gpu::of($tensor) {
            None => cpu::$kernel($($argument),*),
            Some(gpu) => gpu::$kernel(&gpu, $($argument),*),
        }
    };
}
pub(crate) use dispatch;
