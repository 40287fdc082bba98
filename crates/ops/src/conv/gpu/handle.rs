//! cuDNN's handle on one thread and one GPU, what frees its objects, and what it is given at most.

#![allow(unsafe_code)]

use crate::gpu::{Gpu, Precision};
use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::{Error, Result};

pub(super) fn checked<T>(result: std::result::Result<T, CudnnError>) -> Result<T> {
    result.map_err(|e| Error::Msg(format!("cuDNN: {e:?}")))
}

/// An object of cuDNN with the function that frees it.
pub(super) struct Owned<T: Copy>(pub T, pub unsafe fn(T) -> std::result::Result<(), CudnnError>);

impl<T: Copy> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the object was made by its constructor and is freed here alone. An error has nobody to go to.
        let _ = unsafe { (self.1)(self.0) };
    }
}

/// What cuDNN is given at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Elements of a map: cuDNN counts them in 31 bits.
    pub elements: usize,
    /// Bytes of workspace.
    pub workspace: usize,
}

pub(super) const LIMITS: Limits = Limits { elements: (1 << 31) - 1, workspace: 1 << 30 };

#[cfg(test)]
thread_local! {
    /// What a test asks for, on its thread alone.
    pub(super) static TESTED: std::cell::Cell<Limits> = const { std::cell::Cell::new(LIMITS) };
}

#[cfg(test)]
pub(super) fn limits() -> Limits {
    TESTED.get()
}

#[cfg(not(test))]
pub(super) fn limits() -> Limits {
    LIMITS
}

/// A handle, which works on the stream of its GPU.
pub(super) struct Handle {
    raw: Owned<sys::cudnnHandle_t>,
    /// What convolutions of f32 are to have.
    pub precision: Precision,
}

impl Handle {
    /// A new one; the GPU's context is the thread's.
    pub fn of(gpu: &Gpu) -> Result<Self> {
        let raw = Owned(checked(result::create_handle())?, result::destroy_handle);
        // SAFETY: both are alive; the device keeps its stream for as long as tensors are on it.
        checked(unsafe { result::set_stream(raw.0, gpu.0.cuda_stream().cu_stream().cast()) })?;
        Ok(Self { raw, precision: gpu.precision() })
    }

    /// As cuDNN takes it.
    pub fn raw(&self) -> sys::cudnnHandle_t {
        self.raw.0
    }
}
