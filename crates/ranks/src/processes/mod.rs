//! Ranks that are processes, which speak with one another over MPI.

mod report;
mod transport;
mod wait;

use crate::cores::{Seat, all, idle, on_machine, share};
use crate::launcher::{Launcher, Place};
use crate::rank::{Stage, rank_args, ranks_agree, tell_once};
use anyhow::{Context, Result, bail, ensure};
use mpi::Threading;
use mpi::environment::{Universe, processor_name};
use mpi::topology::{Communicator, SimpleCommunicator};
use report::{Reporter, Watch};
use simclr_core::cli::{CommonArgs, exit_with, log_of_rank};
use simclr_core::train::Interrupted;
use simclr_ops::Group;
use simclr_ops::collective::{Host, Transport};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
pub use transport::Mpi;

/// Runs `stage` as this process's rank among those that were started with it.
pub fn run(place: &Place, common: &CommonArgs, stage: &Stage) -> ExitCode {
    let opened = begin(place).and_then(|universe| Ok((universe, World::open()?)));
    let (universe, world) = match opened {
        Ok(opened) => opened,
        Err(error) => return tell_once(place, error),
    };
    let code = match catch_unwind(AssertUnwindSafe(|| world.work(common, stage))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        // All ranks have agreed to stop.
        Ok(Err(error)) if error.is::<Interrupted>() && world.group.leads() => exit_with(Err(error)),
        Ok(Err(error)) if error.is::<Interrupted>() => ExitCode::from(Interrupted::EXIT),
        // The group is not dropped: a sum that has begun would wait for the others for ever.
        Ok(Err(error)) => world.fail(&format!("{error:#}")),
        Err(_) => world.fail("it has panicked; its message is above"),
    };
    if let Err(error) = world.close() {
        eprintln!("error: ending MPI: {error:#}");
        return ExitCode::FAILURE;
    }
    drop(universe);
    code
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

/// What a rank has once all have said where they are.
struct World {
    group: Group,
    seats: Vec<Seat>,
    reporter: Reporter,
    watch: Option<Watch>,
}

impl World {
    fn open() -> Result<Self> {
        let host = processor_name().unwrap_or_else(|_| "an unnamed machine".into());
        let reporter = Reporter::new(usize::try_from(SimpleCommunicator::world().rank())?);
        let transport = Mpi::open(reporter.clone())?;
        let seats = transport.gather(&Seat::here(host).to_bytes())?;
        let seats: Option<Vec<_>> = seats.iter().map(|bytes| Seat::from_bytes(bytes)).collect();
        let seats = seats.context("the ranks run different programs")?;
        let hosts = seats.iter().map(|seat| seat.host.clone()).collect();
        let watch = (transport.rank() == 0).then(|| Watch::begin(reporter.clone(), hosts)).transpose()?;
        Ok(Self { group: Group::of(Host::new(transport)), seats, reporter, watch })
    }

    fn work(&self, common: &CommonArgs, stage: &Stage) -> Result<()> {
        let (group, rank, size) = (&self.group, self.group.rank(), self.group.size());
        if !group.leads() {
            // An error means that there is a log already: it stays.
            let _ = tracing::subscriber::set_global_default(log_of_rank(&format!("{group:?}")));
        }
        ranks_agree(common, size)?;
        let (local, beside) = on_machine(&self.seats, rank);
        let threads = common.threads.unwrap_or_else(|| share(&self.seats, rank));
        let args = CommonArgs { threads: Some(threads), ..rank_args(common, group, local, beside)? };
        let (config, host) = (args.prepare()?, &self.seats[rank].host);
        tracing::info!("{size} ranks over MPI, {beside} of them on this machine ({host}), {threads} threads each");
        // Under Slurm, what is not used may be others'.
        let (all, slurm) = (all(), std::env::var_os("SLURM_JOB_ID").is_some());
        if let Some(used) = idle(&self.seats, rank, &all).filter(|_| local == 0 && !slurm) {
            let of = all.len();
            tracing::warn!(
                "the launcher lets the ranks of {host} use {used} of {of} processors: see mpirun's --bind-to none, --map-by"
            );
        }
        stage(args, &config)
    }

    /// Tells why this rank has failed; all end.
    fn fail(&self, why: &str) -> ! {
        self.reporter.fail(why, &self.seats[self.group.rank()].host, self.group.size())
    }

    /// The last words between the ranks. Where MPI ends it waits without politeness: all are to be here first.
    fn close(self) -> Result<()> {
        self.group.barrier()?;
        if let Some(watch) = self.watch {
            watch.end();
        }
        Ok(())
    }
}
