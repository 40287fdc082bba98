//! Kernels compiled once for this processor, one launch at a time.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its kind, as `emulated.hpp` names them: `a` address, `i` int, `u` unsigned int, `l` long long, `f` float, `d` double.
    pub kind: u8,
    /// Its bits, in the lowest bytes.
    pub bits: u64,
}

/// One launch of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The kernel's name.
    pub kernel: &'a str,
    /// Blocks: along x and y.
    pub grid: [u32; 2],
    /// Threads of a block: along x and y.
    pub block: [u32; 2],
    /// In the kernel's order. Addresses are of memory that holds what the kernel reads and writes there.
    pub arguments: &'a [Argument],
}

type LaunchFn = unsafe extern "C" fn(
    *const c_char,
    *const u32,
    *const u32,
    *mut *mut c_void,
    *const c_char,
    *const c_char,
    u32,
    i32,
) -> *const c_char;
type BarriersFn = unsafe extern "C" fn() -> *const c_char;

/// The compiled kernels.
pub struct Emulator {
    /// A lock, because the library runs one launch at a time.
    launch: Mutex<LaunchFn>,
    barriers: BarriersFn,
}

thread_local! {
    /// The barrier that launches of this thread leave out.
    static SKIPPED: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Emulator {
    /// Compiles kernels' sources, all of them together.
    ///
    /// # Errors
    /// When there is no C++ compiler, or it has anything to say.
    pub fn compile(kernels: &[PathBuf]) -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("simclr-emulated-{}", std::process::id()));
        let (source, library) = (dir.join("all.cpp"), dir.join("all.so"));
        std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(&source, format!("#include \"emulated.hpp\"\n{}", crate::header(kernels))))
            .map_err(|e| format!("{}: {e}", dir.display()))?;
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let made = Command::new(&compiler)
            .args(["-std=c++17", "-O1", "-fno-strict-aliasing", "-ffp-contract=off", "-shared", "-fPIC", "-Wall"])
            // The process may have an emulated GPU with the same kernels: neither is to take the other's.
            .args(["-fvisibility=hidden", "-Wno-unknown-pragmas", "-I"])
            .arg(crate::sources())
            .arg("-o")
            .args([&library, &source])
            .output()
            .map_err(|e| format!("these tests need a C++ compiler, and {compiler} does not start: {e}; set CXX"))?;
        let messages = String::from_utf8_lossy(&made.stderr);
        if !made.status.success() || messages.contains("warning") {
            return Err(format!("{compiler} does not take the kernels:\n{messages}"));
        }
        let path = CString::new(library.display().to_string()).map_err(|e| e.to_string())?;
        // SAFETY: the library is our own; its initialisers only fill a table.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        let symbol = |name: &CStr| {
            // SAFETY: a handle, or null, which finds nothing of this name.
            let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
            if found.is_null() { Err(format!("no {name:?} in {}", library.display())) } else { Ok(found) }
        };
        let (launch, barriers) = (symbol(c"emulated_launch")?, symbol(c"emulated_barriers")?);
        std::fs::remove_dir_all(&dir).map_err(|e| e.to_string())?;
        // SAFETY: emulated.hpp declares both so.
        let (launch, barriers) = unsafe {
            (
                std::mem::transmute::<*mut c_void, LaunchFn>(launch),
                std::mem::transmute::<*mut c_void, BarriersFn>(barriers),
            )
        };
        Ok(Self { launch: Mutex::new(launch), barriers })
    }

    /// The barriers that launches have reached, as `norm/kernel.cu:63`.
    pub fn barriers(&self) -> Vec<String> {
        let _alone = self.launch.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the text is valid until the next call, and this one holds the lock.
        let text = unsafe { CStr::from_ptr((self.barriers)()) };
        text.to_string_lossy().lines().map(String::from).collect()
    }

    /// Runs `work` with one barrier left out of all launches; the message of the panic that it ends in.
    ///
    /// # Errors
    /// When it panics.
    pub fn without_barrier(&self, site: &str, work: impl FnOnce()) -> Result<(), String> {
        SKIPPED.set(site.into());
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        SKIPPED.take();
        ended.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    /// One run of a launch, in an order of threads that `seed` draws.
    ///
    /// # Errors
    /// When there is no such kernel, its arguments are of other kinds, or the emulation finds a fault.
    ///
    /// # Safety
    /// Each address is 0 or that of memory which lives until this returns, which nobody else uses meanwhile, and which holds
    /// what the kernel reads and writes there.
    pub unsafe fn run(&self, launch: &Launch<'_>, seed: u32) -> Result<(), String> {
        let name = CString::new(launch.kernel).map_err(|e| e.to_string())?;
        let (grid, block) = ([launch.grid[0], launch.grid[1], 1], [launch.block[0], launch.block[1], 1]);
        let mut values: Vec<u64> = launch.arguments.iter().map(|a| a.bits).collect();
        let kinds: Vec<u8> = launch.arguments.iter().map(|a| a.kind).collect();
        let kinds = CString::new(kinds).map_err(|e| e.to_string())?;
        let skipped = CString::new(SKIPPED.with_borrow(String::clone)).map_err(|e| e.to_string())?;
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|v| (v as *mut u64).cast()).collect();
        let run = self.launch.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: strings end in zero, grids have three numbers, and there are as many arguments as kinds: the emulator
        // refuses kinds that are not the kernel's. Values stand in the first bytes of 8 (little-endian). What the
        // kernel reads and writes at addresses is there, as this function's contract says. The lock keeps launches apart.
        let message = unsafe {
            run(
                name.as_ptr(),
                grid.as_ptr(),
                block.as_ptr(),
                pointers.as_mut_ptr(),
                kinds.as_ptr(),
                skipped.as_ptr(),
                seed,
                0,
            )
        };
        if message.is_null() {
            return Ok(());
        }
        // SAFETY: valid until the next launch, which waits for the lock.
        Err(unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned())
    }
}
