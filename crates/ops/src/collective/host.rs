//! Collectives over what moves numbers between hosts: tensors on the CPU as they are, those of a GPU by way of the host.

use super::{Collective, PendingSum};
use crate::optim::assign;
use crate::tensor::{from_vec, update, with_slice};
use candle_core::{DType, Device, Result, Tensor, bail};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

/// What moves numbers between the hosts of ranks. Calls of one transport come in the same order on all ranks.
pub trait Transport: Send + Sync + 'static {
    /// This rank.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// Sums over ranks, in place; the same bits on all.
    ///
    /// # Errors
    /// When a rank has ended, or the ranks made different calls.
    fn sum(&self, values: &mut [f32]) -> Result<()>;

    /// The bytes of rank `root`, as many on all ranks.
    ///
    /// # Errors
    /// As [`Transport::sum`].
    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()>;

    /// The bytes of all ranks, of any lengths, in the order of ranks.
    ///
    /// # Errors
    /// As [`Transport::sum`].
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Another transport between the same ranks, whose calls may run beside those of this one. All ranks call it.
    ///
    /// # Errors
    /// As [`Transport::sum`].
    fn twin(&self) -> Result<Box<dyn Transport>>;

    /// Tells the others that this rank ends, and why.
    fn abort(&self, why: &str);
}

/// A [`Collective`] over a [`Transport`]. Sums that are asked for ahead are worked out by a thread, over a twin of the
/// transport.
pub struct Host<T> {
    transport: T,
    later: Mutex<Option<Later>>,
}

impl<T: Transport> Host<T> {
    /// Over `transport`.
    pub fn new(transport: T) -> Self {
        Self { transport, later: Mutex::new(None) }
    }
}

/// Sums a tensor over the ranks of a transport.
fn sum(transport: &dyn Transport, values: &Tensor) -> Result<()> {
    if !values.device().is_cpu() {
        let host = values.to_device(&Device::Cpu)?;
        sum(transport, &host)?;
        return assign(values, &host);
    }
    let mut done = Ok(());
    update(values, |v| done = transport.sum(v))?;
    done
}

/// The numbers of a tensor on the CPU as bytes.
fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>> {
    match tensor.dtype() {
        DType::F64 => Ok(tensor.flatten_all()?.to_vec1::<f64>()?.into_iter().flat_map(f64::to_le_bytes).collect()),
        _ => with_slice(tensor, |v| Ok(v.iter().flat_map(|v| v.to_le_bytes()).collect())),
    }
}

/// A vector on the CPU from such bytes.
fn numbers(bytes: &[u8], dtype: DType) -> Result<Tensor> {
    let f64_of = |b: &[u8]| b.try_into().map_or(f64::NAN, f64::from_le_bytes);
    let f32_of = |b: &[u8]| b.try_into().map_or(f32::NAN, f32::from_le_bytes);
    match dtype {
        DType::F64 => from_vec(bytes.chunks_exact(8).map(f64_of).collect(), bytes.len() / 8),
        _ => from_vec(bytes.chunks_exact(4).map(f32_of).collect(), bytes.len() / 4),
    }
}

impl<T: Transport> Collective for Host<T> {
    fn rank(&self) -> usize {
        self.transport.rank()
    }

    fn size(&self) -> usize {
        self.transport.size()
    }

    fn all_reduce(&self, values: &Tensor) -> Result<()> {
        sum(&self.transport, values)
    }

    fn all_reduce_later(&self, values: &Tensor) -> Result<Box<dyn PendingSum>> {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        let later = match &mut *later {
            Some(later) => later,
            none => none.insert(Later::begin(self.transport.twin()?)?),
        };
        Ok(Box::new(later.sum(values)?))
    }

    fn all_gather(&self, own: &Tensor) -> Result<Tensor> {
        let all = self.transport.gather(&bytes_of(&own.to_device(&Device::Cpu)?)?)?;
        let shape = [&[all.len()], own.dims()].concat();
        let whole = all.concat();
        numbers(&whole, own.dtype())?.reshape(shape)?.to_device(own.device())
    }

    fn broadcast(&self, values: &Tensor, root: usize) -> Result<()> {
        let mut bytes = bytes_of(&values.to_device(&Device::Cpu)?)?;
        self.transport.broadcast(&mut bytes, root)?;
        assign(values, &numbers(&bytes, values.dtype())?.reshape(values.shape())?)
    }

    fn exchange(&self, message: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.transport.gather(message)
    }

    fn abort(&self, why: &str) {
        self.transport.abort(why);
    }
}

/// A thread that sums what it is given, in order.
struct Later {
    work: Option<Sender<(Tensor, Sender<Result<()>>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Later {
    fn begin(transport: Box<dyn Transport>) -> Result<Self> {
        let (sender, work) = channel::<(Tensor, Sender<Result<()>>)>();
        let go = move || {
            for (values, done) in work {
                // Nobody waits any more where the rank has failed.
                let _ = done.send(sum(transport.as_ref(), &values));
            }
        };
        let thread = std::thread::Builder::new().name("sums".into()).spawn(go)?;
        Ok(Self { work: Some(sender), thread: Some(thread) })
    }

    fn sum(&self, values: &Tensor) -> Result<InFlight> {
        let (sender, done) = channel();
        match &self.work {
            Some(work) if work.send((values.clone(), sender)).is_ok() => Ok(InFlight(done)),
            _ => bail!("the thread that sums over ranks has ended"),
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct InFlight(Receiver<Result<()>>);

impl PendingSum for InFlight {
    fn wait(self: Box<Self>) -> Result<f64> {
        let begun = Instant::now();
        match self.0.recv() {
            Ok(done) => done.map(|()| begun.elapsed().as_secs_f64()),
            Err(_) => bail!("the thread that sums over ranks has ended"),
        }
    }
}
