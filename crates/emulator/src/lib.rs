//! A GPU on the processor, for tests without one.
//!
//! [`Emulator`] compiles kernels as C++ against `cpp/emulated.hpp`, which says what it finds, and runs single launches in
//! this process. The other sources in `cpp` stand in for NVIDIA's libraries: `cargo xtask cuda-check --emulate` builds them.

#[cfg(unix)]
mod emulator;
#[cfg(unix)]
mod guarded;
#[cfg(unix)]
mod plant;

use std::path::{Path, PathBuf};

#[cfg(unix)]
pub use emulator::{Argument, Emulator, Launch};
#[cfg(unix)]
pub use guarded::Guarded;
#[cfg(unix)]
pub use plant::plant;

/// The folder of the C++ sources.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cpp")
}

/// The kernels of a crate: each `kernel.cu` in a folder of `src`, in order.
///
/// # Errors
/// When `src` cannot be read.
pub fn kernels(src: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(src)? {
        found.push(entry?.path().join("kernel.cu"));
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

/// A header that includes these kernels.
pub fn header(kernels: &[PathBuf]) -> String {
    kernels.iter().map(|path| format!("#include \"{}\"\n", path.display())).collect()
}
