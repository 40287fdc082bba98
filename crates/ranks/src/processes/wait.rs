//! Waiting for MPI without taking the processor from those who compute.

use mpi::Rank;
use mpi::request::{Request, Scope};
use std::time::{Duration, Instant};

/// How long a wait only lets others run, in case that the answer is about to come.
const SPIN: Duration = Duration::from_micros(50);
/// The first and the longest sleep after that. MPI moves data while it is asked whether it has done so, and this is how
/// often it is asked.
const SLEEP: (Duration, Duration) = (Duration::from_micros(20), Duration::from_micros(100));
/// A wait that has lasted so long is for a rank that computes, not for data: then it asks this often.
const LONG: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1));

/// Waits until the operation is done.
pub fn wait<'a, D: ?Sized, S: Scope<'a>>(mut request: Request<'a, D, S>) {
    let mut pause = Pause::new();
    while let Err(still) = request.test() {
        request = still;
        pause.take();
    }
}

/// A pause between two questions, which grows.
struct Pause {
    begun: Instant,
    sleep: Duration,
}

impl Pause {
    fn new() -> Self {
        Self { begun: Instant::now(), sleep: SLEEP.0 }
    }

    fn take(&mut self) {
        let waited = self.begun.elapsed();
        if waited < SPIN {
            return std::thread::yield_now();
        }
        std::thread::sleep(self.sleep);
        self.sleep = (2 * self.sleep).min(if waited < LONG.0 { SLEEP.1 } else { LONG.1 });
    }
}

/// A rank as MPI counts them.
pub fn rank(number: usize) -> Rank {
    Rank::try_from(number).unwrap_or(Rank::MAX)
}
