//! How the ranks that compute a batch together are started and find one another.
#![forbid(unsafe_code)]

#[cfg_attr(not(feature = "mpi"), allow(dead_code, reason = "shares of cores are those of processes"))]
mod cores;
#[cfg(all(unix, feature = "nccl"))]
mod gpus;
mod launcher;
mod meet;
#[cfg(feature = "mpi")]
mod processes;
mod rank;
mod threads;
mod verdict;

use anyhow::{Error, Result, bail};
pub use launcher::{Launcher, Meeting, Place};
pub use meet::meet;
#[cfg(feature = "mpi")]
pub use processes::Mpi;
pub use rank::{Stage, device_of};
use rank::{WORD, rank_args, tell_once};
use simclr_core::cli::{CommonArgs, exit_with};
use simclr_core::config::Config;
use simclr_ops::Group;
use std::process::ExitCode;

/// Runs `stage` on all ranks, each with the options and the group that are its own: on the processes that mpirun, srun or
/// torchrun have started, or on threads of this one; gives the exit code of `main`.
pub fn launch(common: &CommonArgs, stage: impl Fn(CommonArgs, &Config) -> Result<()> + Sync) -> ExitCode {
    match Place::of_environment() {
        Ok(None) => exit_with(common.prepare().and_then(|config| run(common, &config, stage))),
        Ok(Some(place)) => among_processes(&place, common, &stage),
        Err(error) => exit_with(Err(error)),
    }
}

/// Runs `stage` on all ranks of this process, as [`launch`] does, and gives its error.
///
/// # Errors
/// For 0 ranks; that of the first rank that failed.
pub fn run(
    common: &CommonArgs,
    config: &Config,
    stage: impl Fn(CommonArgs, &Config) -> Result<()> + Sync,
) -> Result<()> {
    let beside = common.ranks.unwrap_or(1);
    on_threads(common.ranks, |group| match group.is_alone() {
        true => stage(common.clone(), config),
        false => stage(rank_args(common, &group, group.rank(), beside)?, config),
    })
}

/// Runs `work` on so many ranks of this process, each with its group.
///
/// # Errors
/// For 0 ranks, where a launcher has started several processes, and what the first rank failed of.
pub fn each(ranks: Option<usize>, work: impl Fn(Group) -> Result<()> + Sync) -> Result<()> {
    if let Some(place) = Place::of_environment()? {
        if place.rank > 0 {
            std::thread::sleep(WORD);
        }
        let (name, size) = (place.launcher.name(), place.size);
        bail!("{name} has started {size} processes, and each would do all of this: start one, with --ranks {size}")
    }
    on_threads(ranks, work)
}

fn on_threads(ranks: Option<usize>, work: impl Fn(Group) -> Result<()> + Sync) -> Result<()> {
    match ranks {
        None | Some(1) => work(Group::default()),
        Some(0) => bail!("--ranks 0: must be at least 1"),
        Some(size) => threads::run(size, &work),
    }
}

fn among_processes(place: &Place, common: &CommonArgs, stage: &Stage) -> ExitCode {
    match (place.launcher, &place.meeting) {
        (Launcher::Torchrun, Some(meeting)) => torchrun(place, meeting, common, stage),
        _ => mpi(place, common, stage),
    }
}

#[cfg(feature = "mpi")]
fn mpi(place: &Place, common: &CommonArgs, stage: &Stage) -> ExitCode {
    processes::run(place, common, stage)
}

#[cfg(not(feature = "mpi"))]
fn mpi(place: &Place, _common: &CommonArgs, _stage: &Stage) -> ExitCode {
    let (name, size) = (place.launcher.name(), place.size);
    tell_once(
        place,
        Error::msg(format!(
            "{name} has started {size} processes, and this program was built without MPI: each would train alone. Build it \
             with --features mpi, or start one process with --ranks {size}"
        )),
    )
}

/// Ranks that meet by TCP alone speak over NCCL.
#[cfg(all(unix, feature = "nccl"))]
fn torchrun(place: &Place, meeting: &Meeting, common: &CommonArgs, stage: &Stage) -> ExitCode {
    gpus::run(place, meeting, common, stage)
}

/// Ranks that meet by TCP alone speak over NCCL, which this build does not have.
#[cfg(not(all(unix, feature = "nccl")))]
fn torchrun(place: &Place, _meeting: &Meeting, _common: &CommonArgs, _stage: &Stage) -> ExitCode {
    let size = place.size;
    tell_once(
        place,
        Error::msg(format!(
            "RANK, WORLD_SIZE={size} and MASTER_ADDR in the environment start ranks as torchrun does: they need GPUs, and a build \
             with --features nccl. On processors, use mpirun -n {size}, or one process with --ranks {size}"
        )),
    )
}
