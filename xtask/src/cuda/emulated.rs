//! The emulated GPU: the kernels and what stands in for NVIDIA's libraries, compiled for the processor as one library.

use super::toolkit::{Toolkit, link};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its sources, in the folder that [`simclr_emulator::sources`] names.
const SOURCES: [&str; 7] =
    ["driver.cpp", "memory.cpp", "queues.cpp", "modules.cpp", "blas.cpp", "dnn.cpp", "missing.cpp"];
/// The one library, and the names under which linkers look for it.
const LIBRARY: &str = "libemulated.so";
const NAMES: [&str; 8] = [
    "libcuda.so",
    // What a binary asks for that was linked to the toolkit's stub of the driver.
    "libcuda.so.1",
    "libcudart.so",
    "libcublas.so",
    "libcublasLt.so",
    "libcurand.so",
    "libcudnn.so",
    "libnvrtc.so",
];

/// An emulated GPU for the binaries that are linked to it.
pub struct Emulated {
    folder: PathBuf,
}

impl Emulated {
    /// Compiles it from `kernels` into `folder`.
    ///
    /// # Errors
    /// When there is no C++ compiler, or it refuses.
    pub fn build(toolkit: &Toolkit, kernels: &[PathBuf], folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".into());
        let sources = simclr_emulator::sources();
        // What `modules.cpp` includes.
        let header = folder.join("kernels.hpp");
        std::fs::write(&header, simclr_emulator::header(kernels))
            .with_context(|| format!("writing {}", header.display()))?;
        // Not over a library that a process may have open.
        let made = folder.join("new.so");
        let status = Command::new(&compiler)
            .args([
                "-std=c++17",
                "-O3",
                "-march=native",
                "-ffp-contract=off",
                "-fno-strict-aliasing",
                "-Wall",
                "-Werror",
            ])
            .args(["-Wno-unknown-pragmas", "-shared", "-fPIC", &format!("-Wl,-soname,{LIBRARY}"), "-o"])
            .arg(&made)
            .arg("-I")
            .arg(&folder)
            .arg("-I")
            .arg(&sources)
            // Headers of NVIDIA's: what is said of them is not for us.
            .arg("-isystem")
            .arg(toolkit.home().join("include"))
            .args(SOURCES.map(|source| sources.join(source)))
            .status()
            .with_context(|| format!("starting {compiler}: the emulated GPU needs a C++ compiler; set CXX"))?;
        ensure!(status.success(), "{compiler} does not compile the emulated GPU; its message is above");
        std::fs::rename(&made, folder.join(LIBRARY)).with_context(|| format!("writing {LIBRARY}"))?;
        for name in NAMES {
            link(Path::new(LIBRARY), &folder.join(name))?;
        }
        Ok(Self { folder })
    }

    /// Sets what links binaries to it and lets them find it, and makes it the device of tests.
    pub fn surround(&self, command: &mut Command) {
        command
            .env("SIMCLR_EMULATED_GPU", &self.folder)
            .env("LD_LIBRARY_PATH", &self.folder)
            .env("SIMCLR_TEST_DEVICE", "cuda");
    }
}
