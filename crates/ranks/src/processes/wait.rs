//! Waiting for MPI without taking the processor from those who compute.

use mpi::Rank;
use mpi::request::{Request, Scope};
use std::time::{Duration, Instant};

/// How long a wait only lets others run, in case that the answer is about to come; and for each byte that is moved, for MPI moves
/// data while it is asked whether it has done so: a gigabyte takes a second.
const SPIN: Duration = Duration::from_micros(50);
const OF_A_BYTE: Duration = Duration::from_nanos(1);
/// The first and the longest sleep after that.
const SLEEP: (Duration, Duration) = (Duration::from_micros(20), Duration::from_micros(100));
/// A wait that has lasted so long is for a rank that computes, not for data: then it asks this often.
const LONG: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1));

/// Waits until the operation, which moves so many bytes to this rank, is done.
pub fn wait<'a, D: ?Sized, S: Scope<'a>>(mut request: Request<'a, D, S>, bytes: usize) {
    let spin = SPIN + OF_A_BYTE.saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX));
    let mut pause = Pause { begun: Instant::now(), spin, sleep: SLEEP.0 };
    while let Err(still) = request.test() {
        request = still;
        pause.take();
    }
}

/// A pause between two questions, which grows.
struct Pause {
    begun: Instant,
    spin: Duration,
    sleep: Duration,
}

impl Pause {
    fn take(&mut self) {
        let waited = self.begun.elapsed();
        if waited < self.spin {
            return std::thread::yield_now();
        }
        std::thread::sleep(self.sleep);
        self.sleep = (2 * self.sleep).min(if waited < self.spin + LONG.0 { SLEEP.1 } else { LONG.1 });
    }
}

/// A rank as MPI counts them.
pub fn rank(number: usize) -> Rank {
    Rank::try_from(number).unwrap_or(Rank::MAX)
}
