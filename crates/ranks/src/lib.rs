//! How the ranks that compute a batch together are started and find one another.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, anyhow, bail};
use simclr_core::cli::{CommonArgs, ProgressMode, exit_with, threads};
use simclr_core::config::Config;
use simclr_ops::Group;
use simclr_ops::collective;
use std::process::ExitCode;
use std::sync::Mutex;

/// Runs `stage` on all ranks of this process, each with the options and the group that are its own; gives the exit code of
/// `main`.
pub fn launch(common: &CommonArgs, stage: impl Fn(CommonArgs, &Config) -> Result<()> + Sync) -> ExitCode {
    exit_with(common.prepare().and_then(|config| run(common, &config, stage)))
}

/// Runs `stage` on all ranks of this process, as [`launch`] does, and gives its error.
///
/// # Errors
/// For 0 ranks, and what the first rank failed of.
pub fn run(
    common: &CommonArgs,
    config: &Config,
    stage: impl Fn(CommonArgs, &Config) -> Result<()> + Sync,
) -> Result<()> {
    each(common.ranks, |group| match group.is_alone() {
        true => stage(common.clone(), config),
        false => stage(args_of(CommonArgs { group, ..common.clone() }), config),
    })
}

/// Runs `work` on so many ranks, each with its group.
///
/// # Errors
/// For 0 ranks, and what the first rank failed of.
pub fn each(ranks: Option<usize>, work: impl Fn(Group) -> Result<()> + Sync) -> Result<()> {
    match ranks {
        None | Some(1) => work(Group::default()),
        Some(0) => bail!("--ranks 0: must be at least 1"),
        Some(size) => on_threads(size, work),
    }
}

/// Each rank is a thread with a pool of its share of the threads; the first that fails ends all, and its error is the error.
fn on_threads(size: usize, work: impl Fn(Group) -> Result<()> + Sync) -> Result<()> {
    let (work, failure) = (&work, &Mutex::new(None));
    let each = (threads() / size).max(1);
    std::thread::scope(|scope| {
        let rank = |collective| -> Result<_> {
            let group = Group::of(collective);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(each).build().context("starting threads")?;
            let name = format!("rank {}", group.rank());
            let work = move || {
                let outcome = pool.install(|| quietly(&group, || work(group.clone())));
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

/// Ranks that do not lead show nothing.
fn args_of(args: CommonArgs) -> CommonArgs {
    let progress = if args.group.leads() { args.progress } else { ProgressMode::Off };
    CommonArgs { progress, ..args }
}

/// Runs `work`, whose messages are logged where the rank leads.
fn quietly<R>(group: &Group, work: impl FnOnce() -> R) -> R {
    match group.leads() {
        true => work(),
        false => tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::new(), work),
    }
}
