//! A communicator of NCCL's that is watched, and ends when a rank of its group has ended.

#![allow(unsafe_code)]

use super::library::{Comm as Raw, IN_PROGRESS, Library, SUCCESS, UniqueId};
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream};
use candle_core::{Result, bail};
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a communicator is looked after.
const LOOK: Duration = Duration::from_millis(50);
/// How long a call of NCCL's may take before it counts as one that waits for a rank that has ended.
const STUCK: Duration = Duration::from_secs(2);
/// How long a rank that leaves waits for what it has queued. Tests plant faults that leave it waiting in vain.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 30 });

/// Why the ranks of one id that are in this process have ended, once one has.
type Ended = OnceLock<String>;

/// The groups of this process: between its threads, who ends says so here.
static GROUPS: Mutex<Vec<([u8; 128], Weak<Ended>)>> = Mutex::new(Vec::new());

fn ended_of(id: &[u8; 128]) -> Arc<Ended> {
    let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    groups.retain(|(_, ended)| ended.strong_count() > 0);
    let known = groups.iter().find(|(of, _)| of == id).and_then(|(_, ended)| ended.upgrade());
    known.unwrap_or_else(|| {
        let ended = Arc::new(Ended::new());
        groups.push((*id, Arc::downgrade(&ended)));
        ended
    })
}

/// NCCL's communicator, null once it has been given back, and why it has ended.
struct Shared {
    /// Held by a call: what ends the communicator waits for it a while.
    calls: Mutex<()>,
    library: &'static Library,
    raw: AtomicPtr<c_void>,
    ended: Arc<Ended>,
    rank: usize,
    size: usize,
}

impl Shared {
    /// Ends what is under way, so that no host waits for it. A call that does not return is one of that.
    fn abort(&self) {
        let begun = Instant::now();
        let mut held = self.calls.try_lock();
        while matches!(held, Err(TryLockError::WouldBlock)) && begun.elapsed() < STUCK {
            drop(held);
            std::thread::sleep(Duration::from_millis(1));
            held = self.calls.try_lock();
        }
        let raw = self.raw.swap(null_mut(), Ordering::AcqRel);
        if !raw.is_null() {
            // SAFETY: whoever takes the communicator out gives it back, once. NCCL lets another thread end what is queued.
            unsafe { (self.library.abort)(raw) };
        }
    }

    /// Aborts where a rank has ended or NCCL has failed; whether there is something left to look after.
    fn look(&self) -> bool {
        let held = self.calls.try_lock();
        if matches!(held, Err(TryLockError::WouldBlock)) && self.ended.get().is_none() {
            return true;
        }
        let raw = self.raw.load(Ordering::Acquire);
        if raw.is_null() {
            return false;
        }
        let mut error = SUCCESS;
        // SAFETY: who gives it back waits for the lock that is held here; where it is not, a rank has ended, and this thread
        // is about to give it back.
        let asked = unsafe { (self.library.async_error)(raw, &raw mut error) };
        if self.ended.get().is_none() && asked == SUCCESS && (error == SUCCESS || error == IN_PROGRESS) {
            return true;
        }
        let text = self.library.named(if asked == SUCCESS { error } else { asked });
        drop(held);
        let _ = self
            .ended
            .set(format!("the ranks on GPUs cannot go on, seen by rank {} of {}: {text}", self.rank, self.size));
        self.abort();
        false
    }
}

/// A rank's communicator. A thread looks after it: nothing on the GPU waits for a rank that has ended.
pub struct Comm {
    shared: Arc<Shared>,
    leaves: Option<Sender<()>>,
    watch: Option<JoinHandle<()>>,
    /// Those that calls were queued on.
    streams: Mutex<Vec<Arc<CudaStream>>>,
}

impl Comm {
    /// Of `rank` of `size`, for the stream's GPU. Waits for the other ranks.
    ///
    /// # Errors
    /// When NCCL is missing or fails: ranks with the same GPU, or of different sizes.
    pub fn new(stream: Arc<CudaStream>, id: [u8; 128], rank: usize, size: usize) -> Result<Self> {
        let library = Library::get()?;
        stream.context().bind_to_thread().w()?;
        // Before the ranks meet: one that ends right after may not be forgotten before the others ask for it.
        let ended = ended_of(&id);
        let mut raw: Raw = null_mut();
        let [ranks, own] = [size, rank].map(|n| c_int::try_from(n).unwrap_or(-1));
        // SAFETY: `raw` is written by the call; the thread's GPU is that of the stream.
        let error = unsafe { (library.init)(&raw mut raw, ranks, UniqueId(id), own) };
        library.check(&format!("rank {rank} of {size} on GPU {}", stream.context().ordinal()), error)?;
        let (raw, calls) = (AtomicPtr::new(raw), Mutex::new(()));
        let shared = Arc::new(Shared { library, calls, raw, ended, rank, size });
        let (leaves, left) = channel::<()>();
        let watched = shared.clone();
        let watch = move || {
            while left.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) && watched.look() {}
        };
        let watch = std::thread::Builder::new().name(format!("nccl {rank}")).spawn(watch)?;
        Ok(Self { shared, leaves: Some(leaves), watch: Some(watch), streams: Mutex::new(vec![stream]) })
    }

    /// This rank, and how many there are.
    pub fn place(&self) -> (usize, usize) {
        (self.shared.rank, self.shared.size)
    }

    /// Makes a call, to be queued on a stream, on a communicator that is alive, and a thread that has its GPU.
    ///
    /// # Errors
    /// When a rank has ended, or NCCL refuses.
    pub fn call(
        &self,
        what: &str,
        stream: &Arc<CudaStream>,
        call: impl FnOnce(&Library, Raw, *mut c_void) -> c_int,
    ) -> Result<()> {
        self.alive()?;
        stream.context().bind_to_thread().w()?;
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if !streams.contains(stream) {
            streams.push(stream.clone());
        }
        drop(streams);
        let _held = self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let raw = self.shared.raw.load(Ordering::Acquire);
        if raw.is_null() {
            return self.alive();
        }
        let error = call(self.shared.library, raw, stream.cu_stream().cast());
        self.shared.library.check(what, error)
    }

    /// An error where a rank has ended.
    ///
    /// # Errors
    /// Then, with what is known of it.
    pub fn alive(&self) -> Result<()> {
        match self.shared.ended.get() {
            Some(why) => bail!("{why}"),
            None if self.shared.raw.load(Ordering::Acquire).is_null() => bail!("the ranks' communicator has ended"),
            None => Ok(()),
        }
    }

    /// As [`Comm::alive`], asking NCCL, too: what the host has read may have come of a rank that is gone.
    ///
    /// # Errors
    /// As there.
    pub fn sound(&self) -> Result<()> {
        self.shared.look();
        self.alive()
    }

    /// Ends the work of all ranks that are within reach: those of this process, and through NCCL those whose network it watches.
    pub fn abort(&self, why: &str) {
        let Shared { rank, size, ended, .. } = &*self.shared;
        let _ = ended.set(format!("rank {rank} of {size} has ended: {why}"));
        self.shared.abort();
    }

    /// Waits until all that was queued is done, or for so long; whether it is.
    fn done(&self) -> bool {
        let mark = |stream: &Arc<CudaStream>| stream.record_event(None).ok();
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let marks: Vec<Option<CudaEvent>> = streams.iter().map(mark).collect();
        let begun = Instant::now();
        let is_done = |mark: &Option<CudaEvent>| mark.as_ref().is_some_and(CudaEvent::is_complete);
        while begun.elapsed() < PATIENCE && self.alive().is_ok() {
            if marks.iter().all(is_done) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }
}

impl Drop for Comm {
    /// A communicator is given back once nothing uses it; where that cannot be waited for, it is aborted.
    fn drop(&mut self) {
        let done = !std::thread::panicking() && self.done();
        self.leaves = None;
        if let Some(watch) = self.watch.take() {
            let _ = watch.join();
        }
        if !done {
            self.abort("it stopped in the middle");
            return;
        }
        let raw = self.shared.raw.swap(null_mut(), Ordering::AcqRel);
        if !raw.is_null() {
            // SAFETY: taken out by the line before, so given back once; all that was queued is done.
            unsafe { (self.shared.library.destroy)(raw) };
        }
    }
}
