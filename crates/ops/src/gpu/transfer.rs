//! Numbers in flight to a GPU and back while it works.

#![allow(unsafe_code)]

use super::device::{Gpu, at};
use super::machine::Number;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaSlice, CudaStream, PinnedHostSlice, result, sys};
use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use half::bf16;
use std::cell::RefCell;
use std::sync::Arc;

/// A stream for uploads, and two pinned buffers: one is filled while the other is read by the GPU.
pub struct UploadStream {
    gpu: Gpu,
    stream: Arc<CudaStream>,
    buffers: [Option<PinnedHostSlice<u8>>; 2],
    next: usize,
}

/// Numbers in a GPU's memory, or in flight to it.
pub struct PendingUpload {
    gpu: Gpu,
    memory: CudaSlice<u8>,
    arrived: CudaEvent,
    dtype: DType,
    shape: Shape,
}

impl UploadStream {
    /// To a GPU; none to the CPU.
    ///
    /// # Errors
    /// When the GPU has no stream left.
    pub fn to(device: &Device) -> Result<Option<Self>> {
        let Device::Cuda(device) = device else { return Ok(None) };
        let stream = device.cuda_stream().context().new_stream().w()?;
        Ok(Some(Self { gpu: Gpu(device.clone()), stream, buffers: [None, None], next: 0 }))
    }

    /// Sends `len` numbers that `fill` writes, every one of them; waits where the buffer's last content is still in flight.
    ///
    /// # Errors
    /// When memory is short.
    pub fn send<T: Number>(
        &mut self,
        len: usize,
        shape: impl Into<Shape>,
        fill: impl FnOnce(&mut [T]),
    ) -> Result<PendingUpload> {
        let bytes = len * size_of::<T>();
        let slot = &mut self.buffers[self.next];
        self.next = 1 - self.next;
        let buffer = match slot {
            Some(buffer) if buffer.num_bytes() == bytes => buffer,
            // SAFETY: every bit pattern is a number, and it is written before it is read.
            other => other.insert(unsafe { self.stream.context().alloc_pinned::<u8>(bytes) }.w()?),
        };
        let host = buffer.as_mut_slice().w()?;
        // SAFETY: as many bytes, at the start of a page; nobody else holds them.
        fill(unsafe { std::slice::from_raw_parts_mut(host.as_mut_ptr().cast(), len) });
        // SAFETY: written by the copy before anything reads it.
        let mut memory = unsafe { self.stream.alloc::<u8>(bytes) }.w()?;
        self.stream.memcpy_htod(&*buffer, &mut memory).w()?;
        let arrived = self.stream.record_event(None).w()?;
        Ok(PendingUpload { gpu: self.gpu.clone(), memory, arrived, dtype: T::DTYPE, shape: shape.into() })
    }
}

impl PendingUpload {
    /// The numbers as a tensor; the GPU's stream waits for their arrival, the host does not.
    ///
    /// # Errors
    /// When the GPU failed at what it was doing.
    pub fn tensor(self) -> Result<Tensor> {
        match self.dtype {
            DType::BF16 => self.of::<bf16>(),
            DType::U8 => self.of::<u8>(),
            _ => self.of::<f32>(),
        }
    }

    fn of<T: Number>(self) -> Result<Tensor> {
        let stream = self.gpu.0.cuda_stream();
        stream.wait(&self.arrived).w()?;
        let len = self.shape.elem_count();
        // SAFETY: the memory holds as many numbers. From here on it belongs to the stream that computes, which waits for
        // the copy above: it is given back in the order of that stream's work, as all memory of the device is.
        let memory = unsafe { stream.upgrade_device_ptr::<T>(self.memory.leak(), len) };
        Ok(self.gpu.tensor(memory, self.shape))
    }
}

/// Bytes of a slot for one scalar.
const SLOT: usize = 8;
/// Scalars of one reading at most.
const SLOTS: usize = 32;

thread_local! {
    /// Pinned buffers that no reading uses: making one makes the GPU wait.
    static IDLE: RefCell<Vec<PinnedHostSlice<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Scalars in flight to the host.
pub struct PendingRead {
    buffer: PinnedHostSlice<u8>,
    dtypes: Vec<DType>,
    arrived: CudaEvent,
}

impl PendingRead {
    /// Asks a GPU for scalars on it, f32 or f64, behind all work that it was given.
    ///
    /// # Errors
    /// When they are on several devices, or too many.
    pub fn of(gpu: &Gpu, scalars: &[&Tensor]) -> Result<Self> {
        if scalars.len() > SLOTS {
            bail!("{} figures at once; at most {SLOTS} are read", scalars.len())
        }
        let stream = gpu.0.cuda_stream();
        let idle = IDLE.with_borrow_mut(Vec::pop).filter(|buffer| buffer.context() == stream.context());
        let mut buffer = match idle {
            Some(buffer) => buffer,
            // SAFETY: every bit pattern is a number; the slots that are read are written by the copies.
            None => unsafe { stream.context().alloc_pinned_with_flags::<u8>(SLOT * SLOTS, 0) }.w()?,
        };
        let slots = buffer.as_mut_slice().w()?.chunks_exact_mut(SLOT);
        for (slot, scalar) in slots.zip(scalars) {
            let (address, size) = match scalar.dtype() {
                DType::F64 => (at::<f64>(scalar)?.0, size_of::<f64>()),
                _ => (at::<f32>(scalar)?.0, size_of::<f32>()),
            };
            // SAFETY: the buffer lives until `arrived` has been waited for; the scalar is one number of that size, and is
            // given back behind this copy.
            unsafe { result::memcpy_dtoh_async(&mut slot[..size], address, stream.cu_stream()) }.w()?;
        }
        let arrived = stream.record_event(Some(sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC)).w()?;
        Ok(Self { buffer, dtypes: scalars.iter().map(|s| s.dtype()).collect(), arrived })
    }

    /// The numbers, once they are here.
    ///
    /// # Errors
    /// When the GPU failed at what it was doing.
    pub fn wait(self) -> Result<Vec<f64>> {
        let Self { buffer, dtypes, arrived } = self;
        arrived.synchronize().w()?;
        let number = |(slot, dtype): (&[u8], &DType)| match (dtype, slot) {
            (DType::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            (_, &[a, b, c, d, ..]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            _ => f64::NAN,
        };
        let numbers = buffer.as_slice().w()?.chunks_exact(SLOT).zip(&dtypes).map(number).collect();
        IDLE.with_borrow_mut(|idle| idle.push(buffer));
        Ok(numbers)
    }
}
