//! Ranks that are processes with a GPU each, which torchrun or its like has started: NCCL is all that they speak over.

use crate::launcher::{Meeting, Place};
use crate::meet::meet;
use crate::rank::{Stage, WORD, gpus, rank_args, ranks_agree};
use anyhow::{Context, Result, ensure};
use simclr_core::cli::{CommonArgs, DeviceChoice, exit_with, log_of_rank};
use simclr_core::train::Interrupted;
use simclr_ops::Group;
use simclr_ops::collective::{Nccl, nccl_id};
use std::process::ExitCode;
use std::time::Duration;

/// How long ranks wait for one another at the start.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs `stage` as this process's rank.
pub fn run(place: &Place, meeting: &Meeting, common: &CommonArgs, stage: &Stage) -> ExitCode {
    let group = match join(place, meeting, common) {
        Ok(group) => group,
        Err(error) => return failed(place, error),
    };
    if !group.leads() {
        // An error means that there is a log already: it stays.
        let _ = tracing::subscriber::set_global_default(log_of_rank(&format!("{group:?}")));
    }
    match work(place, &group, common, stage) {
        // All ranks have agreed to stop.
        Err(error) if error.is::<Interrupted>() && !group.leads() => ExitCode::from(Interrupted::EXIT),
        Err(error) if error.is::<Interrupted>() => exit_with(Err(error)),
        Err(error) => {
            // Those on GPUs would wait for this one for ever; the launcher ends their processes.
            group.abort(&format!("{error:#}"));
            failed(place, error)
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

/// A mistake of all is told by rank 0, and the others are ended meanwhile; each names itself.
fn failed(place: &Place, error: anyhow::Error) -> ExitCode {
    if place.rank > 0 {
        std::thread::sleep(WORD);
    }
    exit_with(Err(error.context(format!("rank {} of {}", place.rank, place.size))))
}

/// This rank's number among those on its machine.
fn local(place: &Place) -> usize {
    place.local_rank.unwrap_or(place.rank)
}

/// The group of all ranks, once each has its GPU and rank 0's id.
fn join(place: &Place, meeting: &Meeting, common: &CommonArgs) -> Result<Group> {
    let (rank, size) = (place.rank, place.size);
    ranks_agree(common, size)?;
    let choice = common.device.of_rank(local(place), size, gpus())?;
    ensure!(
        matches!(choice, DeviceChoice::Cuda(_)),
        "ranks that RANK and WORLD_SIZE={size} start need GPUs, and here is none; on processors, use mpirun -n {size}, or one \
         process with --ranks {size}"
    );
    let device = choice.open()?;
    let own = (rank == 0).then(nccl_id).transpose()?;
    let id = meet(place, meeting, env!("CARGO_PKG_VERSION"), own.as_ref().map(|id| &id[..]), PATIENCE)?;
    let id = id.try_into().ok().context("rank 0 told no id of NCCL's: it runs another version of this program")?;
    Ok(Group::of(Nccl::new(&device, id, rank, size)?))
}

fn work(place: &Place, group: &Group, common: &CommonArgs, stage: &Stage) -> Result<()> {
    let args = rank_args(common, group, local(place), place.size)?;
    let config = args.prepare()?;
    tracing::info!("{} ranks over NCCL", group.size());
    stage(args, &config)
}
