//! Ranks that are threads of one process.

use crate::{Stage, rank_args};
use anyhow::{Context, Result, anyhow};
use simclr_core::cli::{CommonArgs, log_of_rank, threads};
use simclr_core::config::Config;
use simclr_ops::{Group, collective};
use std::sync::Mutex;

/// Each rank is a thread with a pool of its share of the threads; the first that fails ends all, and its error is the error.
///
/// # Errors
/// That of the first rank that failed, with its number.
pub fn run(common: &CommonArgs, config: &Config, size: usize, stage: &Stage) -> Result<()> {
    let failure = &Mutex::new(None);
    let each = (threads() / size).max(1);
    std::thread::scope(|scope| {
        let rank = |collective| -> Result<_> {
            let group = Group::of(collective);
            let args = rank_args(common, &group, group.rank(), size)?;
            let pool = rayon::ThreadPoolBuilder::new().num_threads(each).build().context("starting threads")?;
            let name = format!("rank {}", group.rank());
            let work = move || {
                let outcome = pool.install(|| logged(&group, || stage(args, config)));
                if let Err(error) = outcome {
                    group.abort(&format!("{error:#}"));
                    let mut first = failure.lock().unwrap_or_else(|e| e.into_inner());
                    if first.is_none() {
                        *first = Some(anyhow!("{group:?}: {error:#}"));
                    }
                }
            };
            std::thread::Builder::new().name(name).spawn_scoped(scope, work).context("starting a rank")
        };
        let started = collective::threads(size).into_iter().map(rank).collect::<Result<Vec<_>>>()?;
        started
            .into_iter()
            .try_for_each(|rank| rank.join().map_err(|_| anyhow!("a rank has panicked; its message is above")))
    })?;
    let first = failure.lock().unwrap_or_else(|e| e.into_inner()).take();
    first.map_or(Ok(()), Err)
}

/// Runs `work`, which logs warnings and errors alone where the rank does not lead.
fn logged<R>(group: &Group, work: impl FnOnce() -> R) -> R {
    match group.leads() {
        true => work(),
        false => tracing::subscriber::with_default(log_of_rank(&format!("{group:?}")), work),
    }
}
