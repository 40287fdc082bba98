//! Numbers in flight to a GPU and back while it works.

#![allow(unsafe_code)]

use super::device::{Gpu, at};
use super::machine::Number;
use super::pinned::Pinned;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaSlice, CudaStream, DevicePtrMut, sys};
use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use half::bf16;
use std::cell::RefCell;
use std::sync::Arc;

/// A stream for uploads, and two pinned buffers, which only grow: one is filled while the other is read by the GPU.
pub struct UploadStream {
    gpu: Gpu,
    stream: Arc<CudaStream>,
    buffers: [Option<Pinned>; 2],
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
        // A smaller one goes first, once its content has been read.
        if slot.as_ref().is_some_and(|buffer| buffer.bytes() < bytes) {
            *slot = None;
        }
        let buffer = match slot {
            Some(buffer) => buffer,
            None => slot.insert(Pinned::new(self.stream.context(), bytes, sys::CU_MEMHOSTALLOC_WRITECOMBINED)?),
        };
        let host = buffer.host()?.as_mut_ptr();
        // SAFETY: the buffer has as many bytes, at the start of a page; all of them are initialised, every bit pattern is a
        // number, and nobody else holds them.
        fill(unsafe { std::slice::from_raw_parts_mut(host.cast(), len) });
        // SAFETY: written by the copy before anything reads it.
        let mut memory = unsafe { self.stream.alloc::<u8>(bytes) }.w()?;
        let to = memory.device_ptr_mut(&self.stream).0;
        // SAFETY: allocated for as many bytes the line before, in the order of this stream; wherever it is given back, that
        // comes behind the copy: on this stream, or on one that has waited for `arrived`.
        unsafe { buffer.send(to, bytes, &self.stream) }?;
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
/// Numbers that a buffer has room for, at least.
const SLOTS: usize = 32;

thread_local! {
    /// Pinned buffers that no reading uses: making one makes the GPU wait.
    static IDLE: RefCell<Vec<Pinned>> = const { RefCell::new(Vec::new()) };
}

/// Numbers in flight to the host.
pub struct PendingRead {
    /// None once it has gone back to the idle ones.
    buffer: Option<Pinned>,
    /// Of each number.
    dtypes: Vec<DType>,
}

impl PendingRead {
    /// Asks a GPU for scalars on it, f32 or f64, and lists of f64, behind all work that it was given.
    ///
    /// # Errors
    /// When they are on several devices, or memory is short.
    pub fn of(gpu: &Gpu, figures: &[&Tensor]) -> Result<Self> {
        let (mut parts, mut dtypes) = (Vec::new(), Vec::new());
        for figure in figures {
            let (place, count) = (dtypes.len() * SLOT, figure.elem_count());
            parts.push(match figure.dtype() {
                DType::F64 => (place, at::<f64>(figure)?.0, count * size_of::<f64>()),
                _ if count == 1 => (place, at::<f32>(figure)?.0, size_of::<f32>()),
                dtype => bail!("a list of {count} figures of {dtype:?}: lists are f64"),
            });
            dtypes.extend(std::iter::repeat_n(figure.dtype(), count));
        }
        let stream = gpu.0.cuda_stream();
        let bytes = SLOT * dtypes.len().next_power_of_two().max(SLOTS);
        let fits = |buffer: &Pinned| buffer.context() == stream.context() && buffer.bytes() >= bytes;
        let idle = IDLE.with_borrow_mut(|idle| Some(idle.swap_remove(idle.iter().position(fits)?)));
        let mut buffer = match idle {
            Some(buffer) => buffer,
            None => Pinned::new(stream.context(), bytes, 0)?,
        };
        // SAFETY: each part is as many numbers of that size, behind one another in the buffer, which has room for all; they are
        // given back behind this copy.
        unsafe { buffer.receive(&parts, &stream) }?;
        Ok(Self { buffer: Some(buffer), dtypes })
    }

    /// The numbers, once they are here.
    ///
    /// # Errors
    /// When the GPU failed at what it was doing.
    pub fn wait(mut self) -> Result<Vec<f64>> {
        let Some(buffer) = &mut self.buffer else { bail!("figures without a buffer") };
        let number = |(slot, dtype): (&[u8], &DType)| match (dtype, slot) {
            (DType::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
            (_, &[a, b, c, d, ..]) => f64::from(f32::from_le_bytes([a, b, c, d])),
            _ => f64::NAN,
        };
        Ok(buffer.host()?.chunks_exact(SLOT).zip(&self.dtypes).map(number).collect())
    }
}

impl Drop for PendingRead {
    /// The buffer goes back, read or not: whoever is next waits for its last copy.
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            // A thread that ends has no idle ones any more.
            let _ = IDLE.try_with(|idle| idle.borrow_mut().push(buffer));
        }
    }
}
