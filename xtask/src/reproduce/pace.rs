//! How far a run is and how long the rest will take, from the costs of its jobs and the time that work has taken.

use std::time::Instant;

/// Work done and measured. Work that an earlier run did counts as done, but not as measured.
pub struct Pace {
    total: f64,
    done: f64,
    /// Work that was done while somebody watched.
    measured: f64,
    /// When the first of it was heard of.
    since: Option<Instant>,
    lanes: Vec<Lane>,
}

/// A job at work.
#[derive(Clone, Default)]
struct Lane {
    cost: f64,
    /// Share of the job when it was first heard of, and now.
    shares: Option<(f64, f64)>,
}

impl Lane {
    fn share(&self) -> f64 {
        self.shares.map_or(0.0, |(_, now)| now)
    }

    fn measured(&self) -> f64 {
        self.shares.map_or(0.0, |(from, now)| (now - from) * self.cost)
    }
}

impl Pace {
    /// For jobs of `total` cost, `lanes` of them at once.
    pub fn new(total: f64, lanes: usize) -> Self {
        Self { total, done: 0.0, measured: 0.0, since: None, lanes: vec![Lane::default(); lanes] }
    }

    /// A job of this cost begins.
    pub fn start(&mut self, lane: usize, cost: f64) {
        self.lanes[lane] = Lane { cost, shares: None };
    }

    /// The job has done this share of its work.
    pub fn at(&mut self, lane: usize, share: f64, now: Instant) {
        let lane = &mut self.lanes[lane];
        let (from, last) = lane.shares.unwrap_or((share, share));
        lane.shares = Some((from, last.max(share.clamp(0.0, 1.0))));
        self.since.get_or_insert(now);
    }

    /// The job has ended.
    pub fn end(&mut self, lane: usize) {
        let lane = std::mem::take(&mut self.lanes[lane]);
        if let Some((from, _)) = lane.shares {
            self.measured += (1.0 - from) * lane.cost;
        }
        self.done += lane.cost;
    }

    /// The share of all work that is done.
    pub fn share(&self) -> f64 {
        let running: f64 = self.lanes.iter().map(|lane| lane.share() * lane.cost).sum();
        if self.total > 0.0 { ((self.done + running) / self.total).min(1.0) } else { 0.0 }
    }

    /// Seconds that the rest will take at the pace so far; `None` until there is one.
    pub fn remaining(&self, now: Instant) -> Option<f64> {
        let measured = self.measured + self.lanes.iter().map(Lane::measured).sum::<f64>();
        let seconds = (now - self.since?).as_secs_f64();
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
        let mut pace = Pace::new(200.0, 1);
        pace.start(0, 100.0);
        assert_eq!(pace.remaining(start), None);
        pace.at(0, 0.5, start); // an earlier run did half
        pace.at(0, 0.75, after(10)); // 25 units in 10 s
        assert!((pace.share() - 0.375).abs() < 1e-12);
        let left = pace.remaining(after(10));
        assert!(left.is_some_and(|s| (s - 50.0).abs() < 1e-6), "{left:?}"); // 125 units at 0.4 s
        pace.end(0);
        assert!(pace.remaining(after(20)).is_some_and(|s| (s - 40.0).abs() < 1e-6));
    }

    #[test]
    fn two_at_once_are_twice_as_fast() {
        let start = Instant::now();
        let mut pace = Pace::new(40.0, 2);
        for lane in 0..2 {
            pace.start(lane, 10.0);
            pace.at(lane, 0.0, start);
            pace.at(lane, 0.5, start + Duration::from_secs(5));
        }
        // 10 of 40 units in 5 s.
        assert!(pace.remaining(start + Duration::from_secs(5)).is_some_and(|s| (s - 15.0).abs() < 1e-6));
    }

    #[test]
    fn a_finished_job_is_done_but_not_measured() {
        let start = Instant::now();
        let mut pace = Pace::new(10.0, 1);
        pace.start(0, 5.0);
        pace.end(0);
        assert!((pace.share() - 0.5).abs() < 1e-12);
        assert_eq!(pace.remaining(start), None);
    }

    #[test]
    fn a_share_never_goes_back() {
        let now = Instant::now();
        let mut pace = Pace::new(1.0, 1);
        pace.start(0, 1.0);
        pace.at(0, 0.8, now);
        pace.at(0, 0.1, now);
        assert!((pace.share() - 0.8).abs() < 1e-12);
    }
}
