//! The ranks that share a batch, as ops and stages see them.

use super::{Collective, PendingSum};
use candle_core::{Device, DeviceLocation, Result, Tensor};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The share of rank `rank` of `size` in `len` things: parts are adjacent, in the order of ranks, and differ by one at most.
pub fn part(len: usize, rank: usize, size: usize) -> Range<usize> {
    len * rank / size..len * (rank + 1) / size
}

/// The ranks that compute a batch together: one alone, or several over a [`Collective`].
#[derive(Clone, Default)]
pub struct Group {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    collective: Arc<dyn Collective>,
    /// The same ranks between their GPUs, by the GPU of this one, as long as the group: they are told of its end.
    on_gpus: Mutex<Vec<(DeviceLocation, Group)>>,
    bytes: AtomicU64,
    nanoseconds: AtomicU64,
}

/// What a rank has told the others since the last time that it was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Bytes of all tensors and messages that it handed over.
    pub bytes: u64,
    /// Seconds that it waited for the others: its host, and its GPU for sums that were begun before.
    pub waited: f64,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

impl Group {
    /// The ranks of a collective.
    pub fn of(collective: impl Collective + 'static) -> Self {
        Self::over(Arc::new(collective))
    }

    fn over(collective: Arc<dyn Collective>) -> Self {
        let (bytes, nanoseconds) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { shared: Some(Arc::new(Shared { collective, on_gpus: Mutex::default(), bytes, nanoseconds })) }
    }

    /// The same ranks, which compute on `device`: where this build has NCCL and each rank a GPU of its own, tensors on it go over
    /// NCCL, and messages and tensors on the CPU as they do here. All ranks call it.
    ///
    /// # Errors
    /// When a rank has no NCCL, or it fails.
    pub fn on(&self, device: &Device) -> Result<Self> {
        let Some(shared) = self.others().filter(|shared| !shared.collective.joins_gpus()) else {
            return Ok(self.clone());
        };
        #[cfg_attr(not(feature = "nccl"), allow(unused_mut))]
        let mut known = shared.on_gpus.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, group)) = known.iter().find(|(of, _)| *of == device.location()) {
            return Ok(group.clone());
        }
        #[cfg(all(unix, feature = "nccl"))]
        if let Some(between) = super::nccl::join(&shared.collective, device)? {
            let group = Self::over(between);
            known.push((device.location(), group.clone()));
            return Ok(group);
        }
        drop(known);
        Ok(self.clone())
    }

    /// Whether tensors on GPUs go from one to the other, not by way of the hosts.
    pub fn joins_gpus(&self) -> bool {
        self.others().is_some_and(|shared| shared.collective.joins_gpus())
    }

    /// This rank.
    pub fn rank(&self) -> usize {
        self.shared.as_ref().map_or(0, |shared| shared.collective.rank())
    }

    /// How many ranks there are.
    pub fn size(&self) -> usize {
        self.shared.as_ref().map_or(1, |shared| shared.collective.size())
    }

    /// Whether there are no others.
    pub fn is_alone(&self) -> bool {
        self.size() == 1
    }

    /// Whether this rank speaks and writes for all.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// This rank's part of `len` things.
    pub fn part(&self, len: usize) -> Range<usize> {
        part(len, self.rank(), self.size())
    }

    /// Those that there is something to say to.
    fn others(&self) -> Option<&Shared> {
        self.shared.as_deref().filter(|shared| shared.collective.size() > 1)
    }

    /// Sums `values` over all ranks, in place ([`Collective::all_reduce`]).
    ///
    /// # Errors
    /// As there.
    pub fn all_reduce(&self, values: &Tensor) -> Result<()> {
        self.others().map_or(Ok(()), |shared| shared.timed(bytes_of(values), |c| c.all_reduce(values)))
    }

    /// Begins to sum `values` over all ranks ([`Collective::all_reduce_later`]); `None` where there are no others.
    ///
    /// # Errors
    /// As there.
    pub fn all_reduce_later(&self, values: &Tensor) -> Result<Option<Box<dyn PendingSum>>> {
        self.others().map(|shared| shared.timed(bytes_of(values), |c| c.all_reduce_later(values))).transpose()
    }

    /// `own` `[...]` of all ranks, `[size, ...]` ([`Collective::all_gather`]).
    ///
    /// # Errors
    /// As there.
    pub fn all_gather(&self, own: &Tensor) -> Result<Tensor> {
        self.others().map_or_else(|| own.unsqueeze(0), |shared| shared.timed(bytes_of(own), |c| c.all_gather(own)))
    }

    /// The rows `[n, ...]` of all ranks, one after the other, where `counts` says how many each has.
    ///
    /// # Errors
    /// As [`Collective::all_gather`].
    pub fn gather_rows(&self, own: &Tensor, counts: &[usize]) -> Result<Tensor> {
        if self.is_alone() {
            return Ok(own.clone());
        }
        let most = counts.iter().copied().max().unwrap_or(0);
        let padded = match most - own.dim(0)? {
            0 => own.clone(),
            missing => own.pad_with_zeros(0, 0, missing)?,
        };
        let all = self.all_gather(&padded.contiguous()?)?;
        if counts.iter().all(|count| *count == most) {
            return all.flatten(0, 1);
        }
        let rows = counts.iter().enumerate().map(|(rank, count)| all.get(rank)?.narrow(0, 0, *count));
        Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)
    }

    /// Puts the numbers of rank `root` into `values` of all ranks ([`Collective::broadcast`]).
    ///
    /// # Errors
    /// As there.
    pub fn broadcast(&self, values: &Tensor, root: usize) -> Result<()> {
        self.others().map_or(Ok(()), |shared| shared.timed(bytes_of(values), |c| c.broadcast(values, root)))
    }

    /// Messages of all ranks, in their order ([`Collective::exchange`]).
    ///
    /// # Errors
    /// As there.
    pub fn exchange(&self, message: &[u8]) -> Result<Vec<Vec<u8>>> {
        let alone = || Ok(vec![message.to_vec()]);
        self.others().map_or_else(alone, |shared| shared.timed(message.len(), |c| c.exchange(message)))
    }

    /// Holds what each rank says against the others: `None` where all say the same, else what rank 0 says, and the first rank
    /// that says something else, with that.
    ///
    /// # Errors
    /// As [`Collective::exchange`].
    pub fn disagreement(&self, own: &str) -> Result<Option<(String, usize, String)>> {
        let all = self.exchange(own.as_bytes())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let other = all.iter().enumerate().find(|(_, said)| **said != all[0]);
        Ok(other.map(|(rank, said)| (text(&all[0]), rank, text(said))))
    }

    /// Returns once all ranks have come so far.
    ///
    /// # Errors
    /// As [`Collective::exchange`].
    pub fn barrier(&self) -> Result<()> {
        self.exchange(&[]).map(|_| ())
    }

    /// Tells the others that this rank ends before its time, and why ([`Collective::abort`]).
    pub fn abort(&self, why: &str) {
        if let Some(shared) = self.others() {
            let on_gpus = shared.on_gpus.lock().unwrap_or_else(PoisonError::into_inner);
            on_gpus.iter().for_each(|(_, group)| group.abort(why));
            shared.collective.abort(why);
        }
    }

    /// What was told since the last time that this was asked.
    pub fn traffic(&self) -> Traffic {
        self.others().map_or_else(Traffic::default, |shared| Traffic {
            bytes: shared.bytes.swap(0, Ordering::Relaxed),
            waited: shared.nanoseconds.swap(0, Ordering::Relaxed) as f64 * 1e-9 + shared.collective.waited(),
        })
    }

    /// Adds seconds that were waited for a sum that was begun before.
    pub fn waited(&self, seconds: f64) {
        if let Some(shared) = self.others() {
            shared.nanoseconds.fetch_add((seconds * 1e9) as u64, Ordering::Relaxed);
        }
    }
}

impl Shared {
    fn timed<R>(&self, bytes: usize, call: impl FnOnce(&dyn Collective) -> Result<R>) -> Result<R> {
        let begun = Instant::now();
        let result = call(self.collective.as_ref());
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.nanoseconds.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }
}

fn bytes_of(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}
