//! Pinned memory of the host, which copies read and write while the host goes on.

#![allow(unsafe_code)]

use candle_core::Result;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaEvent, CudaStream, result, sys};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

/// Pinned memory with the event behind the last copy that uses it: the host waits for it before it touches the memory, and
/// before it gives it back. (cudarc's pinned memory relies on its own tracking of events, which is off.)
pub struct Pinned {
    address: NonNull<u8>,
    bytes: usize,
    last: CudaEvent,
}

// SAFETY: the memory belongs to the value alone, and its functions may be called from any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Room for `bytes`. `flags` are CUDA's: `CU_MEMHOSTALLOC_WRITECOMBINED` for what the host only writes.
    ///
    /// # Errors
    /// When memory is short.
    pub fn new(context: &Arc<CudaContext>, bytes: usize, flags: u32) -> Result<Self> {
        let last = context.new_event(Some(sys::CUevent_flags::CU_EVENT_BLOCKING_SYNC)).w()?;
        // SAFETY: `new_event` has bound the context to this thread. The result is whole pages that nobody else has.
        let address = unsafe { result::malloc_host(bytes.max(1), flags) }.w()?;
        let Some(address) = NonNull::new(address.cast::<u8>()) else {
            candle_core::bail!("CUDA gave no pinned memory of {bytes} bytes")
        };
        let pinned = Self { address, bytes, last };
        // SAFETY: that many bytes are the value's own. From here on all of them are initialised.
        unsafe { pinned.address.write_bytes(0, bytes) };
        Ok(pinned)
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whose memory it is.
    pub fn context(&self) -> &Arc<CudaContext> {
        self.last.context()
    }

    /// Whether no copy is in flight.
    pub fn is_idle(&self) -> bool {
        self.last.is_complete()
    }

    /// The bytes, once no copy is in flight.
    ///
    /// # Errors
    /// When the GPU failed at what it was doing.
    pub fn host(&mut self) -> Result<&mut [u8]> {
        self.last.synchronize().w()?;
        // SAFETY: the bytes are initialised, and the value's own; the line before has waited for the last copy, and the
        // borrow keeps others from starting.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.bytes) })
    }

    /// Copies the first `bytes` to the GPU, in the order of a stream.
    ///
    /// # Errors
    /// When there are not as many, or the GPU failed at what it was doing.
    ///
    /// # Safety
    /// `to` is memory of at least `bytes`, which lives until the copy's place in the stream.
    pub unsafe fn send(&mut self, to: sys::CUdeviceptr, bytes: usize, stream: &CudaStream) -> Result<()> {
        self.check(bytes)?;
        stream.context().bind_to_thread().w()?;
        // SAFETY: as many bytes are initialised, and stay as they are: whoever writes them waits for `last` first.
        let from = unsafe { std::slice::from_raw_parts(self.address.as_ptr(), bytes) };
        // SAFETY: `to` is as large, as this function's contract says.
        unsafe { result::memcpy_htod_async(to, from, stream.cu_stream()) }.w()?;
        self.mark(stream)
    }

    /// Copies numbers of the GPU to here, in the order of a stream and behind what other streams copied: each part is where
    /// it goes, where it is, and how many bytes.
    ///
    /// # Errors
    /// When there is no room, or the GPU failed at what it was doing.
    ///
    /// # Safety
    /// Each part is memory of the GPU which lives until the copies' place in the stream.
    pub unsafe fn receive(&mut self, parts: &[(usize, sys::CUdeviceptr, usize)], stream: &CudaStream) -> Result<()> {
        stream.wait(&self.last).w()?;
        let copied = parts.iter().try_for_each(|&(at, from, bytes)| {
            self.check(at + bytes)?;
            // SAFETY: the bytes are the value's own, and nobody reads them before he has waited for `last`.
            let to = unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr().add(at), bytes) };
            // SAFETY: `from` is as large, as this function's contract says.
            unsafe { result::memcpy_dtoh_async(to, from, stream.cu_stream()) }.w()
        });
        // Those before one that failed are in flight.
        self.mark(stream)?;
        copied
    }

    fn check(&self, bytes: usize) -> Result<()> {
        if bytes > self.bytes {
            candle_core::bail!("{bytes} bytes do not go through pinned memory of {}", self.bytes)
        }
        Ok(())
    }

    /// Sets the event behind a copy; where that fails, the copy is waited for.
    fn mark(&self, stream: &CudaStream) -> Result<()> {
        let marked = self.last.record(stream);
        if marked.is_err() {
            stream.synchronize().w()?;
        }
        marked.w()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let context = self.last.context();
        context.record_err(self.last.synchronize());
        // SAFETY: the memory is the value's own, and the line before has waited for the last copy.
        context.record_err(unsafe { result::free_host(self.address.as_ptr().cast()) });
    }
}

/// Pinned memories of small uploads in the middle of a step: the next that is idle, or a new one.
static STAGING: Mutex<Vec<Pinned>> = Mutex::new(Vec::new());
/// Most of them for one context: then the host waits for the oldest.
const MOST: usize = 64;

/// Sends bytes of pageable memory to the GPU in the order of a stream, without waiting for what the stream does. They may be
/// gone when this returns.
///
/// # Errors
/// When memory is short, or the GPU failed at what it was doing.
///
/// # Safety
/// `to` is memory for all of them, which lives until the copy's place in the stream.
pub unsafe fn send_staged(bytes: &[u8], to: sys::CUdeviceptr, stream: &CudaStream) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let context = stream.context();
    let fits = |pinned: &Pinned| pinned.context() == context && pinned.bytes() >= bytes.len();
    let staging = || STAGING.lock().unwrap_or_else(PoisonError::into_inner);
    let known = {
        let mut all = staging();
        let idle = all.iter().position(|pinned| fits(pinned) && pinned.is_idle());
        let many = all.iter().filter(|pinned| pinned.context() == context).count() >= MOST;
        let oldest = || many.then(|| all.iter().position(fits)).flatten();
        idle.or_else(oldest).map(|i| all.remove(i))
    };
    // Nobody else waits while this waits for its GPU, which may wait for that of another thread.
    let mut pinned = match known {
        Some(pinned) => pinned,
        None => Pinned::new(context, bytes.len().next_power_of_two(), sys::CU_MEMHOSTALLOC_WRITECOMBINED)?,
    };
    pinned.host()?[..bytes.len()].copy_from_slice(bytes);
    // SAFETY: as this function's contract says.
    unsafe { pinned.send(to, bytes.len(), stream) }?;
    staging().push(pinned);
    Ok(())
}
