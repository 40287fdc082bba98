//! What one rank is given, and how it fails where it speaks with nobody.

use crate::launcher::Place;
use anyhow::{Error, Result, ensure};
use simclr_core::cli::{CommonArgs, DeviceChoice, ProgressMode, exit_with};
use simclr_core::config::Config;
use simclr_ops::Group;
use std::process::ExitCode;
use std::time::Duration;

/// What a rank does, with the options and the group that are its own.
pub type Stage<'a> = dyn Fn(CommonArgs, &Config) -> Result<()> + Sync + 'a;

/// How long a process that does not speak waits for one that does: a launcher ends all where the first has failed.
pub const WORD: Duration = Duration::from_secs(3);

/// One process says what is wrong for all; the others give it the time.
pub fn tell_once(place: &Place, error: Error) -> ExitCode {
    if place.rank > 0 {
        std::thread::sleep(WORD);
        return ExitCode::FAILURE;
    }
    exit_with(Err(error))
}

/// `--ranks` beside a launcher must say what that has done.
#[cfg_attr(not(any(feature = "mpi", feature = "nccl")), allow(dead_code))]
pub fn ranks_agree(common: &CommonArgs, size: usize) -> Result<()> {
    if let Some(ranks) = common.ranks {
        ensure!(ranks == size, "--ranks {ranks}: {size} processes have been started; leave --ranks out");
    }
    Ok(())
}

/// The options of one rank, the `local`-th of `beside` on its machine. Ranks that do not lead show no progress; GPUs are taken
/// in turn.
pub fn rank_args(common: &CommonArgs, group: &Group, local: usize, beside: usize) -> Result<CommonArgs> {
    let progress = if group.leads() { common.progress } else { ProgressMode::Off };
    let device = common.device.of_rank(local, beside, gpus())?;
    Ok(CommonArgs { progress, device, group: group.clone(), ..common.clone() })
}

/// What rank `rank` of `size` in this process computes on, of what was chosen for all.
///
/// # Errors
/// When there are fewer GPUs than ranks.
pub fn device_of(choice: DeviceChoice, rank: usize, size: usize) -> Result<DeviceChoice> {
    choice.of_rank(rank, size, gpus())
}

/// How many GPUs programs see here.
pub fn gpus() -> usize {
    #[cfg(feature = "cuda")]
    return simclr_ops::gpus();
    #[cfg(not(feature = "cuda"))]
    0
}
