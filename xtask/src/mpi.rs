//! `mpi-check`: builds the stages with MPI and tests them as processes.
//!
//! Where the machine has no MPI, or none of what its bindings are made with, both are put together from PyPI's wheels, in
//! `target/mpi`.

pub mod wheels;

use crate::readable::duration;
use crate::stages;
use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;
use wheels::Mpi;

/// What tests of processes look for the programs in.
const PROGRAMS: &str = "SIMCLR_MPI_PROGRAMS";
/// The package whose feature it is.
const RANKS: &str = "simclr-ranks";

/// What tries the transport out, an example of that package.
const EXERCISE: &str = "examples/exercise";

/// Where programs with MPI are put.
fn programs() -> Result<PathBuf> {
    Ok(workspace::target()?.join("mpi-programs"))
}

/// Takes the programs out of the folder of all builds: whoever starts one there has not asked for MPI.
fn set_apart() -> Result<()> {
    let (from, to) = (workspace::target()?.join("debug"), programs()?);
    std::fs::create_dir_all(to.join("examples")).with_context(|| format!("creating {}", to.display()))?;
    for name in stages::programs().into_iter().chain([EXERCISE]) {
        std::fs::rename(from.join(name), to.join(name))
            .with_context(|| format!("moving {name} to {}", to.display()))?;
    }
    Ok(())
}

/// The command that builds and runs the tests of processes.
pub fn tests() -> Command {
    let mut command = workspace::cargo();
    command.args(["test", "--package", "simclr-tests", "--test", "processes"]);
    command
}

/// Runs cargo, with MPI.
///
/// # Errors
/// When it fails.
fn cargo(mpi: &Mpi, args: &[String]) -> Result<()> {
    let mut cargo = workspace::cargo();
    mpi.surround(&mut cargo)?;
    let status = cargo.args(args).status();
    ensure!(status.context("starting cargo")?.success(), "cargo {} with MPI failed; its messages are above", args[0]);
    Ok(())
}

/// Builds the stages with MPI and runs the tests of processes, by a command that starts them.
///
/// # Errors
/// When there is no MPI and none can be had, something does not compile, or a test fails.
pub fn check(mut tests: Command) -> Result<()> {
    let start = Instant::now();
    let mpi = Mpi::ready(&workspace::target()?)?;
    say!("MPI: {}", mpi.name());
    let words = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
    // As `reproduce` builds, so that dependencies are shared; and what tries the transport out.
    let mut build = words("build --no-default-features --bins --example exercise");
    for package in stages::programs().into_iter().chain([RANKS]) {
        build.extend(words(&format!("--package {package} --features {package}/mpi")));
    }
    cargo(&mpi, &build)?;
    set_apart()?;
    cargo(&mpi, &words(&format!("clippy --package {RANKS} --features mpi --all-targets -- -D warnings")))?;
    say!("built in {}", duration(start.elapsed().as_secs_f64()));
    mpi.surround(&mut tests)?;
    let status = tests.env(PROGRAMS, programs()?).status().context("starting the tests of processes")?;
    ensure!(status.success(), "the tests of processes failed; their messages are above");
    say!("processes train as ranks ({})", duration(start.elapsed().as_secs_f64()));
    Ok(())
}
