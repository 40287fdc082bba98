//! NCCL's functions, looked up where ranks on GPUs first ask for them.
//!
//! A binding that is linked would keep every binary from starting where there is no NCCL, on one GPU, too: so the library is
//! loaded by name. What is called of it has been the same since NCCL 2.4.

#![allow(unsafe_code)]

use candle_core::{Result, bail};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// What the linker of a machine calls NCCL.
const NAME: &CStr = c"libnccl.so.2";

/// `ncclUniqueId`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UniqueId(pub [u8; 128]);

/// `ncclComm_t`.
pub type Comm = *mut c_void;

/// `ncclSuccess`, `ncclInProgress`, and `ncclSum` of `ncclRedOp_t`.
pub const SUCCESS: c_int = 0;
pub const IN_PROGRESS: c_int = 7;
pub const SUM: c_int = 0;

macro_rules! functions {
    ($($(#[$doc:meta])* $field:ident = $symbol:literal: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions that are called.
        pub struct Library {
            $($(#[$doc])* pub $field: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Library {
            fn load() -> std::result::Result<Self, String> {
                // SAFETY: the name ends in a zero; what the library does when it is loaded is NVIDIA's.
                let handle = unsafe { libc::dlopen(NAME.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
                if handle.is_null() {
                    return Err(reason());
                }
                Ok(Self {
                    $($field: {
                        // SAFETY: the handle is the library's, and stays so: it is never closed.
                        let symbol = unsafe { libc::dlsym(handle, $symbol.as_ptr()) };
                        if symbol.is_null() {
                            return Err(reason());
                        }
                        // SAFETY: nccl.h declares a function of that name with these arguments.
                        unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> $result>(symbol)
                        }
                    },)*
                })
            }
        }
    };
}

functions! {
    /// Writes an id that nobody else has.
    unique_id = c"ncclGetUniqueId": fn(*mut UniqueId) -> c_int;
    /// Makes the communicator of a rank, on the thread's GPU: (to, ranks, id, rank). Waits for the others.
    init = c"ncclCommInitRank": fn(*mut Comm, c_int, UniqueId, c_int) -> c_int;
    /// Gives back a communicator whose work is done.
    destroy = c"ncclCommDestroy": fn(Comm) -> c_int;
    /// Ends a communicator's work, and gives it back.
    abort = c"ncclCommAbort": fn(Comm) -> c_int;
    /// Writes what has gone wrong since.
    async_error = c"ncclCommGetAsyncError": fn(Comm, *mut c_int) -> c_int;
    /// What an error means.
    text = c"ncclGetErrorString": fn(c_int) -> *const c_char;
    /// (from, to, count, type, operation, communicator, stream).
    all_reduce = c"ncclAllReduce": fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, *mut c_void) -> c_int;
    /// (from, to, count of one rank, type, communicator, stream).
    all_gather = c"ncclAllGather": fn(*const c_void, *mut c_void, usize, c_int, Comm, *mut c_void) -> c_int;
    /// (from, to, count, type, root, communicator, stream).
    broadcast = c"ncclBroadcast": fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, *mut c_void) -> c_int;
}

impl Library {
    /// The library, loaded once.
    ///
    /// # Errors
    /// When it is not on this machine, or too old.
    pub fn get() -> Result<&'static Self> {
        static LIBRARY: OnceLock<std::result::Result<Library, String>> = OnceLock::new();
        match LIBRARY.get_or_init(Self::load) {
            Ok(library) => Ok(library),
            Err(why) => bail!(
                "ranks on GPUs need NCCL: {why}; install it (pip install nvidia-nccl-cu13, or your system's libnccl2) and name \
                 its folder in LD_LIBRARY_PATH"
            ),
        }
    }

    /// An error as NCCL names it.
    pub fn named(&self, error: c_int) -> String {
        // SAFETY: NCCL takes any number.
        let text = unsafe { (self.text)(error) };
        if text.is_null() {
            return format!("error {error}");
        }
        // SAFETY: the text is NCCL's own, of static life, and ends in a zero.
        unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    /// An error where a call failed.
    ///
    /// # Errors
    /// Then.
    pub fn check(&self, what: &str, error: c_int) -> Result<()> {
        match error {
            SUCCESS | IN_PROGRESS => Ok(()),
            error => bail!("NCCL: {what}: {} (NCCL_DEBUG=WARN says more)", self.named(error)),
        }
    }
}

/// What the loader says of its last failure.
fn reason() -> String {
    // SAFETY: the text is valid until this thread's next call of the loader.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "it cannot be loaded".into();
    }
    // SAFETY: as above; it ends in a zero.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
