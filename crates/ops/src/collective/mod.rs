//! Ranks that compute one batch together, and what they tell one another.
//!
//! A [`Group`] is what an op sees: it stands on the tape, and a group of one rank does nothing. Below it a [`Collective`]
//! moves tensors. On the host that is [`Host`] over a [`Transport`] (threads of a process, MPI); between GPUs it is NCCL. All
//! ranks make the same calls in the same order.

mod group;
mod host;
#[cfg(all(unix, feature = "nccl"))]
mod nccl;
#[cfg(test)]
mod tests;
mod threads;

use candle_core::{Result, Tensor};

pub use group::{Group, Traffic, part};
pub use host::{Host, Transport};
#[cfg(all(test, unix, feature = "nccl"))]
pub(crate) use nccl::tests::{FAULTS, on_gpus};
#[cfg(all(unix, feature = "nccl"))]
pub use nccl::{ID_BYTES, Nccl, nccl_id};
pub use threads::threads;

/// What moves tensors between ranks. Each call returns, or has its place in the order of a GPU's work, once all ranks have
/// made it.
pub trait Collective: Send + Sync {
    /// This rank, below [`Collective::size`].
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// Sums `values` (f32, of one shape) over all ranks, in place. All ranks get the same bits.
    ///
    /// # Errors
    /// When a rank has ended, or the ranks made different calls.
    fn all_reduce(&self, values: &Tensor) -> Result<()>;

    /// As [`Collective::all_reduce`], while this rank goes on: nobody may use `values` before the sum has been waited for.
    /// Sums come in the order in which they were asked for.
    ///
    /// # Errors
    /// When it cannot be begun.
    fn all_reduce_later(&self, values: &Tensor) -> Result<Box<dyn PendingSum>>;

    /// `own` (f32 or f64, of one shape `[...]`) of all ranks, in their order: `[size, ...]`, on the device of `own`.
    ///
    /// # Errors
    /// As [`Collective::all_reduce`].
    fn all_gather(&self, own: &Tensor) -> Result<Tensor>;

    /// Puts the numbers of rank `root` into `values` (f32) of all ranks.
    ///
    /// # Errors
    /// As [`Collective::all_reduce`].
    fn broadcast(&self, values: &Tensor, root: usize) -> Result<()>;

    /// Messages of any length between hosts: those of all ranks, in their order.
    ///
    /// # Errors
    /// As [`Collective::all_reduce`].
    fn exchange(&self, message: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Tells the other ranks that this one ends before its time, and why; their calls fail, or they are ended.
    fn abort(&self, why: &str);

    /// Whether tensors on GPUs go from one to the other, not by way of the hosts.
    fn joins_gpus(&self) -> bool {
        false
    }

    /// Seconds that a GPU stood still for sums that were begun before, as far as they are known, since this was asked last.
    fn waited(&self) -> f64 {
        0.0
    }
}

/// A sum over ranks on its way.
pub trait PendingSum {
    /// Waits until what comes next on this rank (on a GPU: next in its stream) may use the sum; gives the seconds that the
    /// host waited.
    ///
    /// # Errors
    /// As [`Collective::all_reduce`].
    fn wait(self: Box<Self>) -> Result<f64>;
}
