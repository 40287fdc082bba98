//! Ranks that are processes, which speak with one another over MPI.

mod report;
mod transport;
mod wait;

use crate::cores::{Seat, on_machine, share};
use crate::launcher::{Launcher, Place};
use crate::{Stage, rank_args, ranks_agree, tell_once};
use anyhow::{Context, Result, anyhow, bail, ensure};
use mpi::Threading;
use mpi::environment::{Universe, processor_name};
use mpi::topology::Communicator;
use report::{Reporter, Watch};
use simclr_core::cli::{CommonArgs, log_of_rank};
use simclr_ops::Group;
use simclr_ops::collective::{Host, Transport};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
pub use transport::Mpi;

/// Runs `stage` as this process's rank among those that were started with it.
pub fn run(place: &Place, common: &CommonArgs, stage: &Stage) -> ExitCode {
    let universe = match begin(place) {
        Ok(universe) => universe,
        Err(error) => return tell_once(place, error),
    };
    let host = processor_name().unwrap_or_else(|_| "an unnamed machine".into());
    let (rank, size) = (place.rank, place.size);
    let reporter = Reporter::new(rank);
    let work = || work(common, stage, &host, &reporter);
    let why = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => {
            drop(universe);
            return ExitCode::SUCCESS;
        }
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "it has panicked; its message is above".into(),
    };
    reporter.fail(&why, &host, size)
}

/// Starts MPI, which must see the processes that the environment tells of.
fn begin(place: &Place) -> Result<Universe> {
    let started = mpi::initialize_with_threading(Threading::Multiple);
    let (universe, threading) = started.context("MPI has been started before")?;
    ensure!(
        threading == Threading::Multiple,
        "this MPI serves one thread at a time only; one that was built with MPI_THREAD_MULTIPLE is needed"
    );
    let (rank, size, name) = (universe.world().rank(), universe.world().size(), place.launcher.name());
    let seen = (usize::try_from(rank), usize::try_from(size));
    if seen != (Ok(place.rank), Ok(place.size)) {
        let advice = match place.launcher {
            Launcher::Srun => {
                "start them with srun --mpi=pmix or --mpi=pmi2 (`srun --mpi=list` names what there is), or with mpirun"
            }
            _ => "start them with the mpirun of the MPI that this program was built with",
        };
        bail!(
            "{name} says that this is process {} of {}, and MPI that it is {rank} of {size}: {advice}",
            place.rank,
            place.size
        )
    }
    Ok(universe)
}

/// From the first words between the ranks to the last; what all must know first is where each of them is.
fn work(common: &CommonArgs, stage: &Stage, host: &str, reporter: &Reporter) -> Result<()> {
    let transport = Mpi::open(reporter.clone())?;
    let (rank, size) = (transport.rank(), transport.size());
    let seats = transport.gather(&Seat::here(host.into()).to_bytes())?;
    let seats: Option<Vec<_>> = seats.iter().map(|bytes| Seat::from_bytes(bytes)).collect();
    let seats = seats.ok_or_else(|| anyhow!("the ranks run different programs"))?;
    let watch =
        (rank == 0).then(|| Watch::begin(reporter.clone(), seats.iter().map(|seat| seat.host.clone()).collect()));
    let watch = watch.transpose().context("starting a thread")?;

    let group = Group::of(Host::new(transport));
    if rank > 0 {
        // An error means that there is a log already: it stays.
        let _ = tracing::subscriber::set_global_default(log_of_rank(&format!("{group:?}")));
    }
    ranks_agree(common, size)?;
    let (local, beside) = on_machine(&seats, rank);
    let threads = common.threads.unwrap_or_else(|| share(&seats, rank));
    let args = CommonArgs { threads: Some(threads), ..rank_args(common, &group, local, beside)? };
    let config = args.prepare()?;
    tracing::info!("{size} ranks over MPI, {beside} of them on this machine ({host}), {threads} threads each");
    stage(args, &config)?;
    // Where MPI ends, it waits without politeness: all are to be here first.
    group.barrier()?;
    if let Some(watch) = watch {
        watch.end();
    }
    Ok(())
}
