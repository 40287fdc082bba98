//! A GPU as a machine, and tensors on it.
//!
//! All work of a device goes to one stream, in the order of launches: memory that is dropped is used again by later
//! launches only, so nothing has to wait on the host.

#![allow(unsafe_code)]

use super::machine::{Arg, At, Kernels, Launch, Machine, Number};
use super::pinned::send_staged;
use super::precision::Precision;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg, result, sys,
};
use candle_core::cuda_backend::{CudaDevice, CudaStorage, DeviceId, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{Device, Result, Shape, Storage, Tensor, bail};
use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

/// What was asked for when each device was opened.
static PRECISIONS: RwLock<Vec<(DeviceId, Precision)>> = RwLock::new(Vec::new());

/// Kernels that were launched before, by device, module and name: CUDA looks a name up among all of a module.
type Functions = HashMap<(DeviceId, &'static str), HashMap<String, CudaFunction>>;
static FUNCTIONS: LazyLock<RwLock<Functions>> = LazyLock::new(RwLock::default);

/// Opens GPU `ordinal`; convolutions of f32 maps on it are to have that precision.
///
/// # Errors
/// When there is no such GPU, or its driver is missing or too old.
pub fn open(ordinal: usize, precision: Precision) -> Result<Device> {
    // The per-thread stream of `Device::new_cuda` would be another stream on every thread.
    let device = Device::new_cuda_with_stream(ordinal)?;
    if let Device::Cuda(cuda) = &device {
        PRECISIONS.write().unwrap_or_else(PoisonError::into_inner).push((cuda.id(), precision));
        let stream = cuda.cuda_stream();
        // SAFETY: there is one stream, which orders all uses of all memory.
        unsafe { cuda.disable_event_tracking() };
        // Freed memory stays with the process: else every wait for the GPU would hand it back. A GPU without pools (some
        // virtual ones) allocates slowly, and works.
        if stream.context().has_async_alloc() {
            let mut keep = u64::MAX;
            let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            // SAFETY: the context is alive, and the attribute's value is 64 bits.
            unsafe {
                let pool = result::device::get_default_mem_pool(stream.context().cu_device()).w()?;
                result::mem_pool::set_attribute(pool, threshold, (&raw mut keep).cast()).w()?;
            }
        }
    }
    Ok(device)
}

/// How many GPUs programs see here; none where there is no driver.
pub fn count() -> usize {
    // Without a driver the library itself is missing: that panics.
    let counted = std::panic::catch_unwind(candle_core::cuda_backend::cudarc::driver::CudaContext::device_count);
    counted.ok().and_then(std::result::Result::ok).and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
}

/// A GPU.
#[derive(Clone)]
pub struct Gpu(pub CudaDevice);

impl Gpu {
    /// The one that a tensor is on; none for a tensor on the CPU.
    pub fn of(tensor: &Tensor) -> Option<Self> {
        match tensor.device() {
            Device::Cuda(device) => Some(Self(device.clone())),
            _ => None,
        }
    }

    /// How it was opened; exact, if by somebody else.
    pub fn precision(&self) -> Precision {
        let all = PRECISIONS.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(id, _)| *id == self.0.id()).map_or(Precision::Exact, |(_, precision)| *precision)
    }

    /// A kernel, looked up once.
    fn function(&self, kernels: Kernels, kernel: &str) -> Result<CudaFunction> {
        let key = (self.0.id(), kernels.module);
        let known = FUNCTIONS.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = known.get(&key).and_then(|functions| functions.get(kernel)) {
            return Ok(function.clone());
        }
        drop(known);
        let function = self.0.get_or_load_custom_func(kernel, kernels.module, kernels.ptx)?.into_cuda_function();
        let mut known = FUNCTIONS.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(key).or_default().insert(kernel.into(), function.clone());
        Ok(function)
    }

    /// A tensor of all numbers of a memory.
    pub fn tensor<T: Number>(&self, memory: CudaSlice<T>, shape: impl Into<Shape>) -> Tensor {
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(memory, self.0.clone()));
        Tensor::from_storage(storage, shape.into(), BackpropOp::none(), false)
    }

    /// Copies the numbers of one tensor over those of another, both on this GPU.
    ///
    /// # Errors
    /// When a tensor is not contiguous, of another dtype or number of elements, or elsewhere.
    pub fn copy<T: Number>(&self, from: &Tensor, to: &Tensor) -> Result<()> {
        let (source, target, len) = (at::<T>(from)?, at::<T>(to)?, to.elem_count());
        if from.elem_count() != len {
            bail!("cannot copy {} numbers over {len}", from.elem_count())
        }
        let stream = self.0.cuda_stream();
        stream.context().bind_to_thread().w()?;
        // SAFETY: `at` has found `len` contiguous numbers at both addresses, of tensors that live until the copy is launched.
        unsafe { result::memcpy_dtod_async(target.0, source.0, len * size_of::<T>(), stream.cu_stream()) }.w()
    }

    /// A tensor with arbitrary contents, and where it stands.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new_tensor<T: Number>(&self, shape: impl Into<Shape>) -> Result<(Tensor, At<T>)> {
        let shape = shape.into();
        let memory = self.room::<T>(shape.elem_count())?;
        let at = self.at(&memory);
        Ok((self.tensor(memory, shape), at))
    }
}

/// Where a tensor's numbers stand; the caller keeps the tensor until it has launched what uses them.
///
/// # Errors
/// When it is not contiguous, of another dtype, or not on a GPU.
pub fn at<T: Number>(tensor: &Tensor) -> Result<At<T>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous tensor, found shape {:?} strides {:?}", layout.shape(), layout.stride())
    };
    let Storage::Cuda(storage) = &*storage else {
        bail!("expected a tensor on the GPU, found one on {:?}", tensor.device().location())
    };
    let stream = storage.device.cuda_stream();
    let (address, _recorded) = storage.as_cuda_slice::<T>()?.device_ptr(&stream);
    Ok(At::new(address + (start * size_of::<T>()) as u64))
}

impl Machine for Gpu {
    type Memory<T: Number> = CudaSlice<T>;

    fn room<T: Number>(&self, len: usize) -> Result<CudaSlice<T>> {
        // SAFETY: every bit pattern is a number, and kernels write before they read.
        unsafe { self.0.alloc::<T>(len) }
    }

    fn upload<T: Number>(&self, values: &[T]) -> Result<CudaSlice<T>> {
        let mut memory = self.room::<T>(values.len())?;
        // SAFETY: numbers are plain: all their bytes are initialised.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
        let stream = self.0.cuda_stream();
        let to = memory.device_ptr_mut(&stream).0;
        // SAFETY: allocated for as many bytes just before, and given back in the order of the same stream.
        unsafe { send_staged(bytes, to, &stream) }?;
        Ok(memory)
    }

    fn at<T: Number>(&self, memory: &CudaSlice<T>) -> At<T> {
        At::new(memory.device_ptr(&self.0.cuda_stream()).0)
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        let Launch { kernels, kernel, grid, block, args } = launch;
        let (function, stream) = (self.function(kernels, &kernel)?, self.0.cuda_stream());
        let mut builder = stream.launch_builder(&function);
        for arg in &args {
            match arg {
                Arg::Address(v) => builder.arg(v),
                Arg::I32(v) => builder.arg(v),
                Arg::U32(v) => builder.arg(v),
                Arg::I64(v) => builder.arg(v),
                Arg::F32(v) => builder.arg(v),
                Arg::F64(v) => builder.arg(v),
            };
        }
        let config =
            LaunchConfig { grid_dim: (grid[0], grid[1], 1), block_dim: (block[0], block[1], 1), shared_mem_bytes: 0 };
        // SAFETY: the arguments are those that the kernel declares, and addresses are of memory of the sizes that it is told:
        // the tests run the same launches on an emulator, which checks kinds of arguments and bounds of memory.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }
}
