//! The emulator as a machine: compiled once a process, one launch at a time.

use crate::cuda::machine::{Arg, At, Launch, Machine, Number};
use candle_core::{Result, bail};
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// Bytes before and after each memory that nothing may change. 0xff bytes are NaN in every type of float.
const GUARD: usize = 64;

/// Numbers in the emulator's memory, between guards.
pub struct Guarded<T> {
    // 16-byte aligned, as a GPU's memory is at least.
    bytes: Box<[u128]>,
    len: usize,
    kind: std::marker::PhantomData<T>,
}

impl<T: Number> Guarded<T> {
    fn address(&self) -> *mut T {
        self.bytes.as_ptr().cast::<u8>().cast_mut().wrapping_add(GUARD).cast()
    }

    /// The numbers, after the guards were checked.
    pub fn numbers(&self) -> Vec<T> {
        let bytes = self.bytes.len() * 16;
        // SAFETY: the box holds that many bytes; no launch runs, so nobody writes.
        let all = unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().cast::<u8>(), bytes) };
        let (start, end) = (GUARD, GUARD + self.len * size_of::<T>());
        assert!(all[..start].iter().chain(&all[end..]).all(|b| *b == 0xff), "a kernel wrote beyond its memory");
        // SAFETY: `len` numbers stand there, aligned to 16 bytes; every bit pattern is a number.
        unsafe { std::slice::from_raw_parts(self.address(), self.len) }.to_vec()
    }
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
    launch: Mutex<LaunchFn>,
    barriers: BarriersFn,
}

thread_local! {
    /// The barrier that launches of this thread leave out.
    static SKIPPED: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Emulator {
    /// Compiles the kernels where this process has not yet.
    pub fn get() -> &'static Self {
        static EMULATOR: OnceLock<Emulator> = OnceLock::new();
        EMULATOR.get_or_init(|| Self::compiled().unwrap())
    }

    fn compiled() -> std::result::Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("simclr-emulated-{}", std::process::id()));
        let cuda = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cuda");
        let sources = ["norm", "pool", "gate", "loss", "optimizer", "augment"];
        let sources = sources.map(|name| format!("#include \"{name}.cu\"\n"));
        let (source, library) = (dir.join("all.cpp"), dir.join("all.so"));
        std::fs::create_dir_all(&dir)
            .and_then(|()| std::fs::write(&source, format!("#include \"emulated.hpp\"\n{}", sources.concat())))
            .map_err(|e| format!("{}: {e}", dir.display()))?;
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let made = Command::new(&compiler)
            .args(["-std=c++17", "-O1", "-fno-strict-aliasing", "-ffp-contract=off", "-shared", "-fPIC", "-Wall"])
            .args(["-Wno-unknown-pragmas", "-I", cuda, "-I", &format!("{cuda}/emulated"), "-o"])
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

    /// The barriers that launches have reached, as `norm.cu:63`.
    pub fn barriers(&self) -> Vec<String> {
        let _alone = self.launch.lock().unwrap();
        // SAFETY: the text is valid until the next call, and this one holds the lock.
        let text = unsafe { CStr::from_ptr((self.barriers)()) };
        text.to_string_lossy().lines().map(String::from).collect()
    }

    /// Runs `work` with one barrier left out of all launches; the message of the panic that it ends in.
    pub fn without_barrier(&self, site: &str, work: impl FnOnce()) -> std::result::Result<(), String> {
        SKIPPED.set(site.into());
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        SKIPPED.take();
        ended.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    /// One run of a launch, in an order of threads that `seed` draws.
    pub fn run(&self, launch: &Launch, seed: u32) -> std::result::Result<(), String> {
        let name = CString::new(launch.kernel.as_str()).map_err(|e| e.to_string())?;
        let (grid, block) = ([launch.grid[0], launch.grid[1], 1], [launch.block[0], launch.block[1], 1]);
        let mut values: Vec<u64> = Vec::new();
        let mut kinds = Vec::new();
        for arg in &launch.args {
            let (kind, value) = match *arg {
                Arg::Address(v) => (b'a', v),
                Arg::I32(v) => (b'i', u64::from(v as u32)),
                Arg::U32(v) => (b'u', u64::from(v)),
                Arg::I64(v) => (b'l', v as u64),
                Arg::F32(v) => (b'f', u64::from(v.to_bits())),
                Arg::F64(v) => (b'd', v.to_bits()),
            };
            kinds.push(kind);
            values.push(value);
        }
        let kinds = CString::new(kinds).map_err(|e| e.to_string())?;
        let skipped = CString::new(SKIPPED.with_borrow(String::clone)).map_err(|e| e.to_string())?;
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|v| (v as *mut u64).cast()).collect();
        let run = self.launch.lock().unwrap();
        // SAFETY: strings end in zero, grids have three numbers, and there are as many arguments as kinds: the emulator
        // refuses kinds that are not the kernel's. Values stand in the first bytes of 8 (little-endian). Addresses are of
        // memory that the test holds. The lock keeps launches apart.
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

impl Machine for Emulator {
    type Memory<T: Number> = Guarded<T>;

    fn room<T: Number>(&self, len: usize) -> Result<Guarded<T>> {
        let bytes = (GUARD + len * size_of::<T>()).div_ceil(16) * 16 + GUARD;
        let bytes = vec![u128::MAX; bytes / 16].into_boxed_slice();
        Ok(Guarded { bytes, len, kind: std::marker::PhantomData })
    }

    fn upload<T: Number>(&self, values: &[T]) -> Result<Guarded<T>> {
        let memory = self.room::<T>(values.len())?;
        // SAFETY: there is room for as many numbers, which nobody else knows of yet.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), memory.address(), values.len()) };
        Ok(memory)
    }

    fn at<T: Number>(&self, memory: &Guarded<T>) -> At<T> {
        At::new(memory.address() as u64)
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        thread_local! {
            static SEED: RefCell<u32> = const { RefCell::new(1) };
        }
        // Each launch in an order of its own; the tests run all of them twice and compare bits.
        let seed = SEED.with_borrow_mut(|seed| {
            *seed = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            *seed
        });
        match self.run(&launch, seed) {
            Ok(()) => Ok(()),
            Err(message) => bail!("{message}"),
        }
    }
}
