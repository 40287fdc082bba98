//! How much memory of a GPU is taken.

use candle_core::{Device, Result};

/// Bytes of a GPU's memory that are taken, by this process and others; none of the CPU's. What this process has given back
/// counts: it keeps that for later work, so after some steps this is the most that a step took.
///
/// # Errors
/// When the GPU failed at what it was doing.
pub fn memory_taken(device: &Device) -> Result<Option<u64>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            use candle_core::cuda_backend::WrapErr;
            let (free, total) = device.cuda_stream().context().mem_get_info().w()?;
            Ok(Some((total - free) as u64))
        }
        _ => Ok(None),
    }
}
