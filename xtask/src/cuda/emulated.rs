//! The emulated GPU: the kernels and what stands in for NVIDIA's libraries, compiled for the processor as one library.
//!
//! Binaries are linked to libraries of NVIDIA's names that only name the functions: at run time they take what is found
//! under these names, the emulated GPU or NVIDIA's own libraries.

use super::libraries::{LIBRARIES, Library, owner};
use super::toolkit::{Toolkit, link};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Its sources, in the folder that [`simclr_emulator::sources`] names.
const SOURCES: [&str; 10] = [
    "driver.cpp",
    "memory.cpp",
    "queues.cpp",
    "modules.cpp",
    "blas.cpp",
    "dnn.cpp",
    "dnn_graph.cpp",
    "dnn_products.cpp",
    "nccl.cpp",
    "missing.cpp",
];
/// The library.
const LIBRARY: &str = "libemulated.so";
/// The folder of libraries that are linked to, in that of the emulated GPU.
const LINKED: &str = "link";

/// Where this process has made one: it takes a third of a minute.
static MADE: OnceLock<PathBuf> = OnceLock::new();

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
        let gpu = Self { folder: folder.clone() };
        if MADE.get() == Some(&folder) {
            return Ok(gpu);
        }
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
        gpu.names(&compiler)?;
        MADE.get_or_init(|| folder);
        Ok(gpu)
    }

    /// The libraries to link to, and what binaries find under their names where they run.
    fn names(&self, compiler: &str) -> Result<()> {
        let output = Command::new("nm")
            .args(["--dynamic", "--defined-only", "--format=posix"])
            .arg(self.folder.join(LIBRARY))
            .output()
            .context("starting nm, which comes with the C++ compiler")?;
        ensure!(output.status.success(), "nm does not read {LIBRARY}");
        let listed = String::from_utf8_lossy(&output.stdout);
        let functions: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
        let linked = self.folder.join(LINKED);
        std::fs::create_dir_all(&linked).with_context(|| format!("creating {}", linked.display()))?;
        for Library { linked: library, asked, .. } in LIBRARIES {
            link(Path::new(LIBRARY), &self.folder.join(asked))?;
            let owned = functions.iter().filter(|name| owner(name) == Some(library));
            let source = linked.join(library).with_extension("c");
            let text: String = owned.map(|name| format!("void {name}(void) {{}}\n")).collect();
            // The same library is not written again: cargo would link everything again.
            if std::fs::read_to_string(&source).is_ok_and(|before| before == text) && linked.join(library).is_file() {
                continue;
            }
            std::fs::write(&source, text).with_context(|| format!("writing {}", source.display()))?;
            let status = Command::new(compiler)
                .args(["-x", "c", "-shared", "-fPIC", "-w", &format!("-Wl,-soname,{asked}"), "-o"])
                .args([&linked.join(library), &source])
                .status()?;
            ensure!(status.success(), "{compiler} does not link {library}");
        }
        Ok(())
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the libraries are that binaries are linked to.
    pub fn linked(&self) -> PathBuf {
        self.folder.join(LINKED)
    }

    /// Sets what links binaries to it and lets them find it, and makes it the device of tests.
    pub fn surround(&self, command: &mut Command) {
        command
            .env("SIMCLR_CUDA_LIBRARIES", self.linked())
            .env("LD_LIBRARY_PATH", &self.folder)
            .env("SIMCLR_TEST_DEVICE", "cuda");
    }
}
