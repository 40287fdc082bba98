//! How far a run is and how long the rest will take, from the costs of its jobs and the time that work has taken.

use std::time::Instant;

/// Work done and measured. Work that an earlier run did counts as done, but not as measured.
pub struct Pace {
    total: f64,
    done: f64,
    job: f64,
    /// Share of the job at hand when it was first heard of, and when that was; `None` before.
    since: Option<(f64, Instant)>,
    share: f64,
    measured: f64,
    seconds: f64,
}

impl Pace {
    /// For jobs of `total` cost.
    pub fn new(total: f64) -> Self {
        Self { total, done: 0.0, job: 0.0, since: None, share: 0.0, measured: 0.0, seconds: 0.0 }
    }

    /// A job of this cost begins.
    pub fn start(&mut self, cost: f64) {
        (self.job, self.since, self.share) = (cost, None, 0.0);
    }

    /// The job has done this share of its work.
    pub fn at(&mut self, share: f64, now: Instant) {
        self.share = self.share.max(share.clamp(0.0, 1.0));
        self.since.get_or_insert((self.share, now));
    }

    /// The job has ended.
    pub fn end(&mut self, now: Instant) {
        if let Some((from, since)) = self.since {
            self.measured += (1.0 - from) * self.job;
            self.seconds += (now - since).as_secs_f64();
        }
        self.done += self.job;
        self.start(0.0);
    }

    /// The share of all work that is done.
    pub fn share(&self) -> f64 {
        if self.total > 0.0 { ((self.done + self.share * self.job) / self.total).min(1.0) } else { 0.0 }
    }

    /// Seconds that the rest will take at the pace so far; `None` until there is one.
    pub fn remaining(&self, now: Instant) -> Option<f64> {
        let (mut measured, mut seconds) = (self.measured, self.seconds);
        if let Some((from, since)) = self.since {
            measured += (self.share - from) * self.job;
            seconds += (now - since).as_secs_f64();
        }
        (measured > 0.0).then(|| seconds / measured * self.total * (1.0 - self.share()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_resumed_job_does_not_look_faster_than_it_is() {
        let start = Instant::now();
        let after = |s: u64| start + Duration::from_secs(s);
        let mut pace = Pace::new(200.0);
        pace.start(100.0);
        assert_eq!(pace.remaining(start), None);
        pace.at(0.5, start); // an earlier run did half
        pace.at(0.75, after(10)); // 25 units in 10 s
        assert!((pace.share() - 0.375).abs() < 1e-12);
        let left = pace.remaining(after(10));
        assert!(left.is_some_and(|s| (s - 50.0).abs() < 1e-6), "{left:?}"); // 125 units at 0.4 s
        pace.end(after(20));
        assert!(pace.remaining(after(20)).is_some_and(|s| (s - 40.0).abs() < 1e-6));
    }

    #[test]
    fn a_finished_job_is_done_but_not_measured() {
        let start = Instant::now();
        let mut pace = Pace::new(10.0);
        pace.start(5.0);
        pace.end(start + Duration::from_secs(1));
        assert!((pace.share() - 0.5).abs() < 1e-12);
        assert_eq!(pace.remaining(start), None);
    }

    #[test]
    fn a_share_never_goes_back() {
        let now = Instant::now();
        let mut pace = Pace::new(1.0);
        pace.start(1.0);
        pace.at(0.8, now);
        pace.at(0.1, now);
        assert!((pace.share() - 0.8).abs() < 1e-12);
    }
}
