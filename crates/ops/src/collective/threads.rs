//! Ranks that are threads of one process.

use super::host::{Host, Transport};
use candle_core::{Result, bail};
use std::any::Any;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How often a rank that waits looks whether another has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Collectives for `size` ranks, in their order; each belongs to the thread that is that rank.
pub fn threads(size: usize) -> Vec<Host<Threads>> {
    let (room, ended) = (Arc::new(Room::new(size)), Arc::new(OnceLock::new()));
    let one = |rank| Host::new(Threads { rank, size, room: room.clone(), ended: ended.clone() });
    (0..size).map(one).collect()
}

/// A rank's place among the threads of a process.
pub struct Threads {
    rank: usize,
    size: usize,
    room: Arc<Room>,
    /// Why a rank has ended: the first that did.
    ended: Arc<OnceLock<String>>,
}

/// What one rank hands to the others, whatever it is.
type Thing = Arc<dyn Any + Send + Sync>;

/// Where the ranks meet, round by round.
struct Room {
    round: Mutex<Round>,
    changed: Condvar,
}

/// A round begins when all have taken what the last one brought.
struct Round {
    brought: Vec<Option<(String, Thing)>>,
    ready: Option<Arc<Vec<(String, Thing)>>>,
    taken: usize,
}

impl Room {
    fn new(size: usize) -> Self {
        let brought = (0..size).map(|_| None).collect();
        Self { round: Mutex::new(Round { brought, ready: None, taken: 0 }), changed: Condvar::new() }
    }
}

impl Threads {
    /// Hands a thing to all ranks and gets theirs, in their order. `call` says what for: it must be the same on all.
    fn swap<T: Any + Send + Sync>(&self, call: String, own: T) -> Result<Vec<Arc<T>>> {
        let mut round = self.room.round.lock().unwrap_or_else(PoisonError::into_inner);
        while round.ready.is_some() {
            round = self.wait(round)?;
        }
        round.brought[self.rank] = Some((call.clone(), Arc::new(own)));
        if round.brought.iter().all(Option::is_some) {
            round.ready = Some(Arc::new(round.brought.iter_mut().filter_map(Option::take).collect()));
            self.room.changed.notify_all();
        }
        let all = loop {
            match &round.ready {
                Some(all) => break all.clone(),
                None => round = self.wait(round)?,
            }
        };
        round.taken += 1;
        if round.taken == self.size {
            (round.taken, round.ready) = (0, None);
            self.room.changed.notify_all();
        }
        drop(round);
        if let Some((rank, (other, _))) = all.iter().enumerate().find(|(_, (other, _))| *other != call) {
            bail!("the ranks have come apart: rank {} is at \"{call}\", rank {rank} at \"{other}\"", self.rank)
        }
        let same = |(_, thing): &(String, Thing)| thing.clone().downcast().ok();
        all.iter()
            .map(same)
            .collect::<Option<_>>()
            .ok_or_else(|| candle_core::Error::Msg("ranks of two programs".into()))
    }

    fn wait<'a>(&self, round: MutexGuard<'a, Round>) -> Result<MutexGuard<'a, Round>> {
        if let Some(why) = self.ended.get() {
            bail!("{why}")
        }
        Ok(self.room.changed.wait_timeout(round, LOOK).unwrap_or_else(PoisonError::into_inner).0)
    }
}

impl Transport for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&self, values: &mut [f32]) -> Result<()> {
        let all = self.swap(format!("sum of {}", values.len()), values.to_vec())?;
        values.copy_from_slice(&all[0]);
        for other in &all[1..] {
            values.iter_mut().zip(other.iter()).for_each(|(sum, v)| *sum += v);
        }
        Ok(())
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        let own = if root == self.rank { bytes.to_vec() } else { Vec::new() };
        let all = self.swap(format!("{} bytes of rank {root}", bytes.len()), own)?;
        bytes.copy_from_slice(&all[root]);
        Ok(())
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let all = self.swap("gather".into(), own.to_vec())?;
        Ok(all.iter().map(|bytes| bytes.to_vec()).collect())
    }

    fn twin(&self) -> Result<Box<dyn Transport>> {
        let rooms = self.swap("twin".into(), Arc::new(Room::new(self.size)))?;
        let room = rooms[0].as_ref().clone();
        Ok(Box::new(Self { rank: self.rank, size: self.size, room, ended: self.ended.clone() }))
    }

    fn abort(&self, why: &str) {
        let _ = self.ended.set(format!("rank {} of {} has ended: {why}", self.rank, self.size));
    }
}

impl Drop for Threads {
    /// Whoever still waits for this rank waits in vain.
    fn drop(&mut self) {
        let _ = self.ended.set(format!("rank {} of {} has ended", self.rank, self.size));
    }
}
