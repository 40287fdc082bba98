//! Ranks that only know where rank 0 is: it tells them the id of their group on GPUs, and all else goes between the GPUs.

use crate::launcher::{Meeting, Place};
use crate::{Stage, WORD, meet, rank_args, ranks_agree};
use anyhow::{Context, Error, Result, bail};
use candle_core::Device;
use simclr_core::cli::{CommonArgs, exit_with, log_of_rank};
use simclr_core::train::Interrupted;
use simclr_ops::Group;
use simclr_ops::collective::Collective;
use std::process::ExitCode;
use std::time::Duration;

/// Bytes of an id.
pub const ID_BYTES: usize = 128;
/// How long ranks wait for one another: a large job starts unevenly.
const PATIENCE: Duration = Duration::from_secs(300);

/// What ranks between GPUs are made with.
pub struct Gpus<I, J> {
    /// Makes an id, on rank 0.
    pub id: I,
    /// Joins the group of an id, as a rank of so many, on its device.
    pub join: J,
}

/// Runs `stage` as this process's rank; gives the exit code of `main`. Whoever started the ranks ends them all where one fails.
pub fn run<C, I, J>(place: &Place, meeting: &Meeting, common: &CommonArgs, stage: &Stage, gpus: &Gpus<I, J>) -> ExitCode
where
    C: Collective + 'static,
    I: Fn() -> candle_core::Result<[u8; ID_BYTES]>,
    J: Fn(&Device, [u8; ID_BYTES], usize, usize) -> candle_core::Result<C>,
{
    match work(place, meeting, common, stage, gpus) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if place.rank == 0 => exit_with(Err(error)),
        Err(error) if error.is::<Interrupted>() => ExitCode::from(Interrupted::EXIT),
        Err(error) => {
            // A mistake of all is told by rank 0, and this one is ended meanwhile.
            std::thread::sleep(WORD);
            exit_with(Err(Error::msg(format!("rank {} of {}: {error:#}", place.rank, place.size))))
        }
    }
}

fn work<C, I, J>(place: &Place, meeting: &Meeting, common: &CommonArgs, stage: &Stage, gpus: &Gpus<I, J>) -> Result<()>
where
    C: Collective + 'static,
    I: Fn() -> candle_core::Result<[u8; ID_BYTES]>,
    J: Fn(&Device, [u8; ID_BYTES], usize, usize) -> candle_core::Result<C>,
{
    let (rank, size) = (place.rank, place.size);
    if rank > 0 {
        // An error means that there is a log already: it stays.
        let _ = tracing::subscriber::set_global_default(log_of_rank(&format!("rank {rank} of {size}")));
    }
    ranks_agree(common, size)?;
    let local = place.local_rank.context("LOCAL_RANK is not in the environment: it says which GPU is this rank's")?;
    let args = rank_args(common, &Group::default(), local, size)?;
    let config = args.prepare()?;
    let device = args.device.open()?;
    if device.is_cpu() {
        bail!("ranks that torchrun starts speak between GPUs; on processors, use mpirun -n {size}, or --ranks {size}")
    }
    let job = std::env::var("TORCHELASTIC_RUN_ID").unwrap_or_default();
    let group = group(place, meeting, &job, &device, gpus)?;
    tracing::info!("{size} ranks, met at {}:{}", meeting.host, meeting.port);
    let args = CommonArgs { group: group.clone(), ..rank_args(&args, &group, local, size)? };
    stage(args, &config).inspect_err(|error| match error.is::<Interrupted>() {
        true => {}
        false => group.abort(&format!("{error:#}")),
    })
}

/// The group of all ranks, which meet for its id.
fn group<C, I, J>(place: &Place, meeting: &Meeting, job: &str, device: &Device, gpus: &Gpus<I, J>) -> Result<Group>
where
    C: Collective + 'static,
    I: Fn() -> candle_core::Result<[u8; ID_BYTES]>,
    J: Fn(&Device, [u8; ID_BYTES], usize, usize) -> candle_core::Result<C>,
{
    let id = (place.rank == 0).then(&gpus.id).transpose()?;
    let told = meet(place, meeting, job, id.as_ref().map(<[u8; ID_BYTES]>::as_slice), PATIENCE)?;
    let id = told.as_slice().try_into().ok().context("rank 0 told no id: the ranks run different programs")?;
    Ok(Group::of((gpus.join)(device, id, place.rank, place.size)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::launcher::Launcher;
    use simclr_ops::collective::threads;
    use std::net::TcpListener;
    use std::sync::Mutex;

    const ID: [u8; ID_BYTES] = [3; ID_BYTES];

    #[test]
    fn ranks_meet_and_compute() {
        let free = &Mutex::new(threads(3));
        let join = |_: &Device, id: [u8; ID_BYTES], rank: usize, size: usize| {
            assert_eq!((id, size), (ID, 3));
            let mut free = free.lock().unwrap();
            let own = free.iter().position(|ranks| ranks.rank() == rank).unwrap();
            Ok(free.swap_remove(own))
        };
        let gpus = &Gpus { id: || Ok(ID), join };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let meeting = &Meeting { host: "127.0.0.1".into(), port };
        std::thread::scope(|scope| {
            for rank in 0..3 {
                scope.spawn(move || {
                    let place =
                        Place { launcher: Launcher::Torchrun, rank, size: 3, local_rank: Some(rank), meeting: None };
                    let group = group(&place, meeting, "job", &Device::Cpu, gpus).unwrap();
                    assert_eq!((group.rank(), group.exchange(&[7]).unwrap().len()), (rank, 3));
                });
            }
        });
    }
}
