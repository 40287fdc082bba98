//! Ranks on GPUs, over NCCL: calls on tensors are queued on streams, and no host waits for them.
//!
//! There is one communicator, and NCCL puts its calls in the order in which they were made, whatever their streams; two would
//! run side by side and may wait for one another for ever (NCCL's guide, "using multiple communicators concurrently"). So sums
//! that are asked for ahead run on a stream of their own beside what is computed, and a gather or sum in the order of the
//! computation begins behind them. Calls come in the same order on all ranks.

#![allow(unsafe_code)]

mod comm;
mod library;
#[cfg(test)]
pub(crate) mod tests;
mod together;

use super::{Collective, PendingSum};
use crate::gpu::machine::{Machine, Number};
use crate::gpu::{Gpu, at};
use crate::optim::assign;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream, sys};
use candle_core::{DType, Device, Result, Tensor, bail};
use comm::Comm;
use library::{Library, SUM, UniqueId};
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};
pub use together::join;

/// Bytes of what tells the ranks of a group that they belong together.
pub const ID_BYTES: usize = 128;

/// An id for a group of ranks on GPUs. One rank makes it and tells the others.
///
/// # Errors
/// When NCCL is not on this machine, or finds no network.
pub fn nccl_id() -> Result<[u8; ID_BYTES]> {
    let library = Library::get()?;
    let mut id = UniqueId([0; ID_BYTES]);
    // SAFETY: the id is written by the call.
    library.check("making an id", unsafe { (library.unique_id)(&raw mut id) })?;
    Ok(id.0)
}

/// A number as NCCL moves it (`ncclDataType_t`).
trait Moved: Number {
    const TYPE: c_int;
}
impl Moved for u8 {
    const TYPE: c_int = 1;
}
impl Moved for f32 {
    const TYPE: c_int = 7;
}
impl Moved for f64 {
    const TYPE: c_int = 8;
}

/// How many spans are kept for whoever asks how long they were.
const MOST_WAITS: usize = 4096;
/// Spans of the computing stream's time between two events: what it waited for.
type Waits = Mutex<VecDeque<[CudaEvent; 2]>>;

/// A [`Collective`] of ranks that have a GPU each.
///
/// Sums of one size of group are the same to the bit in every run on one machine: NCCL chooses its algorithm by sizes, number of
/// ranks and how GPUs are connected. On another machine, or where the environment's `NCCL_ALGO` says so, it may be another.
pub struct Nccl {
    comm: Arc<Comm>,
    gpu: Gpu,
    beside: Arc<CudaStream>,
    waits: Arc<Waits>,
}

impl Nccl {
    /// Rank `rank` of `size`, on its GPU: no other rank has it. Waits for the others.
    ///
    /// # Errors
    /// When the device is no GPU, NCCL is missing, or the ranks do not fit one another.
    pub fn new(device: &Device, id: [u8; ID_BYTES], rank: usize, size: usize) -> Result<Self> {
        let Device::Cuda(cuda) = device else {
            bail!("rank {rank} of {size}: NCCL moves numbers between GPUs; this rank computes on the CPU")
        };
        if rank >= size {
            bail!("rank {rank} of {size}: ranks are counted from 0")
        }
        let computes = cuda.cuda_stream();
        let beside = computes.context().new_stream().w()?;
        let comm = Arc::new(Comm::new(computes, id, rank, size)?);
        Ok(Self { comm, gpu: Gpu(cuda.clone()), beside, waits: Arc::default() })
    }

    /// A tensor on this rank's GPU with the numbers of `tensor`, itself, where it is there; and the stream that computes it.
    fn here(&self, tensor: &Tensor) -> Result<(Tensor, Arc<CudaStream>)> {
        let device = Device::Cuda(self.gpu.0.clone());
        match tensor.device() {
            Device::Cpu => Ok((tensor.to_device(&device)?, self.gpu.0.cuda_stream())),
            // Whoever has opened it.
            Device::Cuda(other) if tensor.device().location() == device.location() => {
                Ok((tensor.clone(), other.cuda_stream()))
            }
            other => bail!("a tensor on {:?} for a rank whose GPU is {:?}", other.location(), device.location()),
        }
    }

    /// Runs `call` on `values` in place where they are on the GPU; numbers of the CPU go there and come back.
    fn in_place(&self, values: &Tensor, call: impl FnOnce(&Tensor, &Arc<CudaStream>) -> Result<()>) -> Result<()> {
        if values.dtype() != DType::F32 {
            bail!("a sum or broadcast of {:?}; ranks share f32", values.dtype())
        }
        let (here, computes) = self.here(values)?;
        call(&here, &computes)?;
        if values.device().is_cpu() {
            assign(values, &self.read(&here)?)?;
        }
        Ok(())
    }

    /// A tensor on the CPU, once the GPU has it: what comes of an abort is an error.
    fn read(&self, tensor: &Tensor) -> Result<Tensor> {
        let read = tensor.to_device(&Device::Cpu)?;
        self.comm.sound()?;
        Ok(read)
    }

    /// Queues the sum of `values` in place.
    fn sum(&self, values: &Tensor, stream: &Arc<CudaStream>) -> Result<()> {
        let (address, count) = (at::<f32>(values)?.0 as *mut c_void, values.elem_count());
        self.comm.call("a sum", stream, |nccl, comm, stream| {
            // SAFETY: `at` has found as many contiguous numbers there, of a tensor that lives until this work's place in the
            // order of the stream that computes.
            unsafe { (nccl.all_reduce)(address, address, count, f32::TYPE, SUM, comm, stream) }
        })
    }

    fn gather<T: Moved>(&self, own: &Tensor) -> Result<Tensor> {
        let (shape, (own, computes)) = ([&[self.size()], own.dims()].concat(), self.here(own)?);
        let (all, to) = Gpu::of(&own).unwrap_or(self.gpu.clone()).new_tensor::<T>(shape)?;
        let (from, count) = (at::<T>(&own)?, own.elem_count());
        self.comm.call("a gather", &computes, |nccl, comm, stream| {
            let (from, to) = (from.0 as *const c_void, to.0 as *mut c_void);
            // SAFETY: `own` has `count` contiguous numbers, and `all` as many for each rank; both are given back in the order
            // of the same stream.
            unsafe { (nccl.all_gather)(from, to, count, T::TYPE, comm, stream) }
        })?;
        Ok(all)
    }

    /// Bytes of all ranks, of which each has as many.
    fn gather_bytes(&self, own: &[u8]) -> Result<Vec<u8>> {
        let own = self.gpu.tensor(self.gpu.upload(own)?, own.len());
        self.read(&self.gather::<u8>(&own)?)?.flatten_all()?.to_vec1()
    }
}

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.comm.place().0
    }

    fn size(&self) -> usize {
        self.comm.place().1
    }

    fn all_reduce(&self, values: &Tensor) -> Result<()> {
        self.in_place(values, |values, computes| self.sum(values, computes))
    }

    fn all_reduce_later(&self, values: &Tensor) -> Result<Box<dyn PendingSum>> {
        if values.device().is_cpu() {
            self.all_reduce(values)?;
            return Ok(Box::new(InFlight(None)));
        }
        let (values, computes) = self.here(values)?;
        if values.dtype() != DType::F32 {
            bail!("a sum of {:?}; ranks share f32", values.dtype())
        }
        self.beside.wait(&computes.record_event(None).w()?).w()?;
        self.sum(&values, &self.beside)?;
        let done = self.beside.record_event(None).w()?;
        Ok(Box::new(InFlight(Some(Sum {
            _values: values,
            computes,
            done: Some(done),
            waits: self.waits.clone(),
            comm: self.comm.clone(),
        }))))
    }

    fn all_gather(&self, own: &Tensor) -> Result<Tensor> {
        let all = match own.dtype() {
            DType::F32 => self.gather::<f32>(own)?,
            DType::F64 => self.gather::<f64>(own)?,
            other => bail!("a gather of {other:?}; ranks share f32 and f64"),
        };
        if own.device().is_cpu() { self.read(&all) } else { Ok(all) }
    }

    fn broadcast(&self, values: &Tensor, root: usize) -> Result<()> {
        let root = c_int::try_from(root).unwrap_or(-1);
        self.in_place(values, |values, computes| {
            let (address, count) = (at::<f32>(values)?.0 as *mut c_void, values.elem_count());
            self.comm.call("a broadcast", computes, |nccl, comm, stream| {
                // SAFETY: as for a sum.
                unsafe { (nccl.broadcast)(address, address, count, f32::TYPE, root, comm, stream) }
            })
        })
    }

    /// Goes through the GPUs' memory, lengths first; the host waits for its GPU.
    fn exchange(&self, message: &[u8]) -> Result<Vec<Vec<u8>>> {
        let lengths = self.gather_bytes(&(message.len() as u64).to_le_bytes())?;
        let length = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes) as usize;
        let lengths: Vec<usize> = lengths.chunks_exact(8).map(length).collect();
        let Some(most) = lengths.iter().copied().max().filter(|most| *most > 0) else {
            return Ok(vec![Vec::new(); lengths.len()]);
        };
        let mut padded = message.to_vec();
        padded.resize(most, 0);
        let all = self.gather_bytes(&padded)?;
        Ok(all.chunks_exact(most).zip(lengths).map(|(bytes, length)| bytes[..length].to_vec()).collect())
    }

    fn abort(&self, why: &str) {
        self.comm.abort(why);
    }

    fn joins_gpus(&self) -> bool {
        true
    }

    fn waited(&self) -> f64 {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seconds = 0.0;
        while let Some([from, to]) = waits.front().filter(|[_, to]| to.is_complete()) {
            seconds += from.elapsed_ms(to).map_or(0.0, |ms| f64::from(ms) * 1e-3);
            waits.pop_front();
        }
        seconds
    }
}

/// A sum that is on its way; none, where it is there.
struct InFlight(Option<Sum>);

struct Sum {
    _values: Tensor,
    computes: Arc<CudaStream>,
    done: Option<CudaEvent>,
    waits: Arc<Waits>,
    comm: Arc<Comm>,
}

impl Sum {
    /// What is computed from here on comes behind the sum; how long it waits is measured.
    fn end(&mut self) -> Result<()> {
        let Some(done) = self.done.take() else { return Ok(()) };
        let mark = || self.computes.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).w();
        let before = mark();
        self.computes.wait(&done).w()?;
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.push_back([before?, mark()?]);
        // Nobody asks.
        if waits.len() > MOST_WAITS {
            waits.pop_front();
        }
        Ok(())
    }
}

impl Drop for Sum {
    /// Numbers that nobody waited for are given back behind their sum all the same.
    fn drop(&mut self) {
        if self.end().is_err() {
            // What is lost here is said by the next call.
            self.computes.context().record_err(self.computes.synchronize());
        }
    }
}

impl PendingSum for InFlight {
    fn wait(self: Box<Self>) -> Result<f64> {
        if let Some(mut sum) = self.0 {
            sum.end()?;
            sum.comm.alive()?;
        }
        Ok(0.0)
    }
}
