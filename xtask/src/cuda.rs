//! `cuda-check`: compiles all that is for NVIDIA GPUs on a machine that has none.
//!
//! A toolkit is put together from PyPI's wheels, in `target/cuda`. With `--emulate` the tests run, on an emulated GPU.

mod emulated;
pub mod libraries;
mod sass;
mod toolkit;

use crate::{readable::duration, workspace};
use anyhow::{Context, Result, ensure};
use emulated::Emulated;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use toolkit::Toolkit;

/// Arguments of `cuda-check`.
#[derive(clap::Args, Default)]
pub struct Args {
    /// Build and link the tests too, with all libraries (2.2 GB, many minutes)
    #[arg(long)]
    link: bool,
    /// Run the tests too, with an emulated GPU behind CUDA's interfaces (needs a C++ compiler); see docs/cuda.md
    #[arg(long, conflicts_with = "link")]
    emulate: bool,
    /// With --emulate, for cargo test: `-- -p simclr-ops --lib`
    #[arg(last = true, requires = "emulate", value_name = "ARGUMENTS")]
    test: Vec<String>,
}

/// Where the kernels are, and what is compiled with their feature.
const KERNELS: &str = "crates/ops/src";
const FEATURE: [&str; 2] = ["--features", "nccl"];

/// Fetches the compiler, where it is not here yet.
///
/// # Errors
/// When it cannot be had.
pub fn compiler() -> Result<()> {
    Toolkit::assemble(&workspace::target()?.join("cuda"), false).map(|_| ())
}

/// Assembles the toolkit, compiles every kernel to PTX and to machine code, which is looked at, and checks the Rust side.
///
/// # Errors
/// When the toolkit cannot be fetched, something does not compile, or a test on the emulated GPU fails.
pub fn check(args: &Args) -> Result<()> {
    let start = Instant::now();
    let folder = workspace::target()?.join("cuda");
    let toolkit = Toolkit::assemble(&folder, args.link)?;
    let kernels = kernels()?;
    if args.emulate {
        let gpu = Emulated::build(&toolkit, &kernels, folder.join("emulated"))?;
        let test: Vec<&str> = args.test.iter().map(String::as_str).collect();
        cargo(&toolkit, &["test"], &test, Some(&gpu))?;
        say!("the tests pass on the emulated GPU ({})", duration(start.elapsed().as_secs_f64()));
        return Ok(());
    }
    let mut rows = Vec::new();
    for kernel in &kernels {
        let ptx = toolkit.compile(kernel)?;
        let file = kernel.strip_prefix(workspace::root().join(KERNELS)).unwrap_or(kernel);
        say!("{}: {} lines of PTX", file.display(), ptx.lines().count());
        let name = kernel.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        rows.extend(sass::check(&toolkit, &ptx, &name, &folder.join("sass"))?);
    }
    sass::print(&rows);
    cargo(&toolkit, &["clippy", "--all-targets"], &["--", "-D", "warnings"], None)?;
    if args.link {
        cargo(&toolkit, &["test", "--no-run"], &[], None)?;
    }
    say!("all that is for CUDA compiles ({})", duration(start.elapsed().as_secs_f64()));
    Ok(())
}

/// The kernels' sources.
fn kernels() -> Result<Vec<PathBuf>> {
    let sources = workspace::root().join(KERNELS);
    let kernels = simclr_emulator::kernels(&sources).with_context(|| format!("reading {}", sources.display()))?;
    ensure!(!kernels.is_empty(), "no kernels in {}", sources.display());
    Ok(kernels)
}

/// Builds for CUDA on any machine: binaries that take the libraries of NVIDIA's names where they run.
pub struct Build {
    toolkit: Toolkit,
    gpu: Emulated,
}

impl Build {
    /// Fetches the compiler and makes the libraries to link to, where they are not here yet.
    ///
    /// # Errors
    /// When the toolkit cannot be had, or there is no C++ compiler.
    pub fn prepare() -> Result<Self> {
        let folder = workspace::target()?.join("cuda");
        let toolkit = Toolkit::assemble(&folder, false)?;
        let gpu = Emulated::build(&toolkit, &kernels()?, folder.join("emulated"))?;
        Ok(Self { toolkit, gpu })
    }

    /// The folder of the emulated GPU: what finds its libraries there runs on it.
    pub fn emulated(&self) -> &Path {
        self.gpu.folder()
    }

    /// Lets a program that was built so run on the emulated GPU.
    pub fn surround(&self, program: &mut Command) {
        self.gpu.surround(program);
    }

    /// A command of cargo's that builds so.
    pub fn cargo(&self, command: &str) -> Command {
        let mut cargo = workspace::cargo();
        cargo.arg(command);
        self.toolkit.surround(&mut cargo);
        self.gpu.surround(&mut cargo);
        cargo
    }
}

/// Runs cargo with the feature on, in the whole workspace unless `after` names a package. What does not depend on the
/// feature is shared with ordinary builds.
fn cargo(toolkit: &Toolkit, before: &[&str], after: &[&str], gpu: Option<&Emulated>) -> Result<()> {
    let mut command = workspace::cargo();
    let picks = after.iter().take_while(|a| **a != "--").any(|a| ["-p", "--package", "--workspace"].contains(a));
    command.args(before).args((!picks).then_some("--workspace")).args(FEATURE).args(after);
    toolkit.surround(&mut command);
    if let Some(gpu) = gpu {
        gpu.surround(&mut command);
    }
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "cargo {} with CUDA failed; the messages are above", before[0]);
    Ok(())
}
