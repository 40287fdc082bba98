//! Ranks that are threads of one process.

use crate::verdict::verdict;
use anyhow::{Context, Error, Result, anyhow};
use simclr_core::cli::{log_of_rank, threads};
use simclr_core::train::Interrupted;
use simclr_ops::{Group, collective};
use std::sync::{Mutex, PoisonError};

/// What each rank's failure was, and which came first.
#[derive(Default)]
struct Failures {
    first: Option<usize>,
    told: Vec<Option<String>>,
    interrupted: Option<Error>,
}

/// Each rank is a thread with a pool of its share of the threads; the first that fails ends all, and its error is the error.
///
/// # Errors
/// That of the first rank that failed, with its number; [`Interrupted`] where all were.
pub fn run(size: usize, work: &(dyn Fn(Group) -> Result<()> + Sync)) -> Result<()> {
    let failures = &Mutex::new(Failures { told: vec![None; size], ..Failures::default() });
    let each = (threads() / size).max(1);
    std::thread::scope(|scope| {
        let rank = |collective| -> Result<_> {
            let group = Group::of(collective);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(each).build().context("starting threads")?;
            let name = format!("rank {}", group.rank());
            let go = move || {
                let outcome = pool.install(|| logged(&group, || work(group.clone())));
                let Err(error) = outcome else { return };
                let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                if error.is::<Interrupted>() {
                    // All have agreed to stop.
                    failures.interrupted = Some(error);
                } else {
                    let why = format!("{error:#}");
                    group.abort(&why);
                    failures.first.get_or_insert(group.rank());
                    failures.told[group.rank()] = Some(why);
                }
            };
            std::thread::Builder::new().name(name).spawn_scoped(scope, go).context("starting a rank")
        };
        let started = collective::threads(size).into_iter().map(rank).collect::<Result<Vec<_>>>()?;
        started
            .into_iter()
            .try_for_each(|rank| rank.join().map_err(|_| anyhow!("a rank has panicked; its message is above")))
    })?;
    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
    match (failures.first, failures.interrupted.take()) {
        (Some(first), _) => Err(Error::msg(verdict(&failures.told, first, ""))),
        (None, Some(interrupted)) => Err(interrupted),
        (None, None) => Ok(()),
    }
}

/// Runs `work`, which logs warnings and errors alone where the rank does not lead.
fn logged<R>(group: &Group, work: impl FnOnce() -> R) -> R {
    match group.leads() {
        true => work(),
        false => tracing::subscriber::with_default(log_of_rank(&format!("{group:?}")), work),
    }
}
