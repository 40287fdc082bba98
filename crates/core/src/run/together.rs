//! How the ranks of a run open it together: with the same manifest, and as the one that leads has found the folder.

use super::manifest::different;
use crate::disk;
use anyhow::{Context, Error, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use simclr_ops::Group;

/// What the rank that leads has found in a folder, as the others are told.
#[derive(Serialize, Deserialize)]
pub struct Found {
    /// The result of a finished run.
    pub done: Option<Json>,
    /// Whether the folder held the run already, unfinished or shorter.
    pub resumed: bool,
    /// The step after which it was finished, and from which it is trained further.
    pub extended_at: Option<u64>,
}

/// Checks that all ranks run the same program on the same manifest.
///
/// # Errors
/// When one does not: the message, the same on all, names it and what differs.
pub fn check(group: &Group, manifest: &Json) -> Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    let own = serde_json::to_vec(&(disk::file_sha256(&program)?, manifest))?;
    let all = group.exchange(&own)?;
    let read =
        |bytes: &[u8]| serde_json::from_slice::<(String, Json)>(bytes).context("what another rank is about to do");
    let (program, manifest) = read(&all[0])?;
    for (rank, bytes) in all.iter().enumerate().skip(1) {
        let (other, asked) = read(bytes)?;
        if other != program {
            bail!("rank {rank} runs another program than rank 0: all need the same build of it")
        }
        if let Some(differences) = different(&manifest, &asked) {
            bail!(
                "rank {rank} was given another experiment than rank 0: {differences} (there is rank 0, here is rank {rank})"
            )
        }
    }
    Ok(())
}

/// Tells all ranks what the one that leads has found; the others have nothing to tell.
///
/// # Errors
/// Where it has found that the run cannot be opened: its error, on all.
pub fn tell(group: &Group, found: Option<Result<Found>>) -> Result<Found> {
    let message = found.map(|found| found.map_err(|error| format!("{error:#}")));
    let all = group.exchange(&serde_json::to_vec(&message)?)?;
    let told: Option<Result<Found, String>> =
        serde_json::from_slice(&all[0]).context("what the first rank has found")?;
    told.context("the first rank has found nothing")?.map_err(Error::msg)
}
