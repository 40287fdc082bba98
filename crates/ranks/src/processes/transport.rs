//! What ranks tell one another over MPI.
//!
//! A communicator belongs to one thread, for its handle may be a pointer. So each transport has a thread of its own, which
//! makes the calls that are sent to it, one after the other, and waits politely.

use super::report::Reporter;
use super::wait::{rank, wait};
use candle_core::{Result, bail};
use mpi::collective::Root;
use mpi::datatype::PartitionMut;
use mpi::request::scope;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::CommunicatorCollectives;
use simclr_ops::collective::Transport;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// Up to so many numbers, all ranks get the numbers of all, which takes one round.
const FEW: usize = 1 << 12;
/// Numbers that a rank sums at a time, of more: 4 MB, so that counts stay far below what MPI can count.
const PIECE: usize = 1 << 20;
/// Bytes of a broadcast at a time, and of all ranks together in a gather.
const BYTES: usize = 1 << 28;

/// A [`Transport`] over a communicator of its own.
pub struct Mpi {
    rank: usize,
    size: usize,
    reporter: Reporter,
    /// What the last sum was worked out in.
    spare: Mutex<Vec<f32>>,
    calls: Option<Sender<Call>>,
    thread: Option<JoinHandle<()>>,
}

type Call = Box<dyn FnOnce(&SimpleCommunicator) + Send>;

impl Mpi {
    /// Between all processes: each must call it, in the same order among other calls of this kind.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn open(reporter: Reporter) -> Result<Self> {
        let (calls, work) = channel::<Call>();
        let (ready, opened) = channel();
        let serve = move || {
            let line = SimpleCommunicator::world().duplicate();
            let _ = ready.send(());
            work.into_iter().for_each(|call| call(&line));
        };
        let thread = std::thread::Builder::new().name("mpi".into()).spawn(serve)?;
        if opened.recv().is_err() {
            bail!("MPI gives no communicator")
        }
        let world = SimpleCommunicator::world();
        let number = |n: i32| usize::try_from(n).unwrap_or_default();
        let (rank, size) = (number(world.rank()), number(world.size()));
        Ok(Self { rank, size, reporter, spare: Mutex::default(), calls: Some(calls), thread: Some(thread) })
    }

    /// Has the thread make a call, and waits for what comes of it.
    fn call<R: Send + 'static>(&self, work: impl FnOnce(&SimpleCommunicator) -> R + Send + 'static) -> Result<R> {
        let (sender, done) = channel();
        let call: Call = Box::new(move |line| {
            let _ = sender.send(work(line));
        });
        match &self.calls {
            Some(calls) if calls.send(call).is_ok() => {}
            _ => bail!("the thread that speaks with other ranks has ended"),
        }
        done.recv().map_err(|_| candle_core::Error::Msg("the thread that speaks with other ranks has ended".into()))
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&self, values: &mut [f32]) -> Result<()> {
        let mut own = std::mem::take(&mut *self.spare.lock().unwrap_or_else(PoisonError::into_inner));
        own.clear();
        own.extend_from_slice(values);
        let size = self.size;
        let summed = self.call(move |line| {
            sum(line, size, &mut own);
            own
        })?;
        values.copy_from_slice(&summed);
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = summed;
        Ok(())
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        let mut own = bytes.to_vec();
        let sent = self.call(move |line| {
            for part in own.chunks_mut(BYTES) {
                let process = line.process_at_rank(rank(root));
                let length = part.len();
                scope(|scope| wait(process.immediate_broadcast_into(scope, part), length));
            }
            own
        })?;
        bytes.copy_from_slice(&sent);
        Ok(())
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (own, size) = (own.to_vec(), self.size);
        self.call(move |line| gather(line, size, &own))
    }

    fn twin(&self) -> Result<Box<dyn Transport>> {
        // To duplicate is to wait without politeness: all are to be here first.
        self.call(|line| wait(line.immediate_barrier(), 0))?;
        Ok(Box::new(Self::open(self.reporter.clone())?))
    }

    fn abort(&self, why: &str) {
        self.reporter.report(why);
    }
}

/// Sums in the order of ranks, so that all get the bits that threads of one process would.
fn sum(line: &SimpleCommunicator, size: usize, values: &mut [f32]) {
    if values.len() <= FEW {
        let mut all = vec![0.0; size * values.len()];
        let bytes = 4 * all.len();
        scope(|scope| wait(line.immediate_all_gather_into(scope, &*values, &mut all[..]), bytes));
        return add(&all, values);
    }
    // Each rank sums its piece of what all have. Buffers are used again: fresh memory takes as long as what is done with it.
    let most = values.len().div_ceil(size).min(PIECE);
    let (mut padded, mut pieces, mut own) = (Vec::with_capacity(size * most), vec![0.0; size * most], vec![0.0; most]);
    for part in values.chunks_mut(size * PIECE) {
        let piece = part.len().div_ceil(size);
        padded.clear();
        padded.extend_from_slice(part);
        padded.resize(size * piece, 0.0);
        let (pieces, own) = (&mut pieces[..size * piece], &mut own[..piece]);
        let bytes = 4 * pieces.len();
        scope(|scope| wait(line.immediate_all_to_all_into(scope, &padded[..], &mut pieces[..]), bytes));
        add(pieces, own);
        scope(|scope| wait(line.immediate_all_gather_into(scope, &own[..], &mut padded[..]), bytes));
        part.copy_from_slice(&padded[..part.len()]);
    }
}

/// The sum of as many vectors as there are in `all`.
fn add(all: &[f32], sum: &mut [f32]) {
    if sum.is_empty() {
        return;
    }
    let mut rows = all.chunks_exact(sum.len());
    if let Some(first) = rows.next() {
        sum.copy_from_slice(first);
    }
    rows.for_each(|row| sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += v));
}

/// Bytes of any lengths: first the lengths, then the bytes, so many at a time that MPI can count them.
fn gather(line: &SimpleCommunicator, size: usize, own: &[u8]) -> Vec<Vec<u8>> {
    let (length, mut lengths) = ([own.len() as u64], vec![0u64; size]);
    scope(|scope| wait(line.immediate_all_gather_into(scope, &length[..], &mut lengths[..]), 8 * size));
    let lengths: Vec<usize> = lengths.into_iter().map(|n| usize::try_from(n).unwrap_or_default()).collect();
    let mut all: Vec<Vec<u8>> = lengths.iter().map(|n| Vec::with_capacity(*n)).collect();
    let (room, longest) = ((BYTES / size).max(1), lengths.iter().copied().max().unwrap_or(0));
    for begin in (0..longest).step_by(room) {
        let counts: Vec<usize> = lengths.iter().map(|n| n.saturating_sub(begin).min(room)).collect();
        let offsets: Vec<usize> = counts
            .iter()
            .scan(0, |sum, n| {
                *sum += n;
                Some(*sum - n)
            })
            .collect();
        let mut bytes = vec![0; counts.iter().sum()];
        let (at, of): (Vec<_>, Vec<_>) =
            (offsets.iter().map(|n| rank(*n)).collect(), counts.iter().map(|n| rank(*n)).collect());
        let part = &own[begin.min(own.len())..(begin + room).min(own.len())];
        {
            let length = bytes.len();
            let mut parts = PartitionMut::new(&mut bytes[..], of, at);
            scope(|scope| wait(line.immediate_all_gather_varcount_into(scope, part, &mut parts), length));
        }
        for ((whole, begin), count) in all.iter_mut().zip(&offsets).zip(&counts) {
            whole.extend_from_slice(&bytes[*begin..begin + count]);
        }
    }
    all
}
