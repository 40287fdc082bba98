//! What a run shows: bars on a terminal, one for the whole and one for each job at work; lines elsewhere.

use super::job::{Job, Progress};
use super::pace::Pace;
use crate::readable::duration;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two status lines where there is no terminal.
const STATUS: Duration = Duration::from_secs(30);

/// Parts that the whole run's bar is divided into.
const PARTS: u64 = 1000;

/// Shows a run as it goes. A *lane* is one of the jobs that are at work at the same time.
pub struct Display {
    pace: Pace,
    jobs: usize,
    begun: usize,
    lanes: Vec<Lane>,
    output: Output,
}

/// The job of a lane.
struct Lane {
    number: usize,
    started: Instant,
    last: Progress,
}

enum Output {
    Bars { all: MultiProgress, whole: ProgressBar, stages: Vec<ProgressBar> },
    Lines { status: Instant },
}

impl Display {
    /// For these jobs, in this order, so many at once.
    pub fn new(jobs: &[Job], lanes: usize) -> Self {
        let now = Instant::now();
        let output = if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() {
            bars(lanes)
        } else {
            Output::Lines { status: now }
        };
        let pace = Pace::new(jobs.iter().map(|j| j.cost).sum(), lanes);
        let lanes = (0..lanes).map(|_| Lane { number: 0, started: now, last: Progress::default() }).collect();
        Self { pace, jobs: jobs.len(), begun: 0, lanes, output }
    }

    /// A job begins.
    pub fn start(&mut self, lane: usize, job: &Job) {
        self.begun += 1;
        let last = Progress { title: job.title.clone(), ..Progress::default() };
        self.lanes[lane] = Lane { number: self.begun, started: Instant::now(), last };
        self.pace.start(lane, job.cost);
        match &mut self.output {
            Output::Bars { stages, .. } => {
                stages[lane].set_length(1);
                stages[lane].set_position(0);
                stages[lane].set_prefix(job.title.clone());
                stages[lane].set_message("");
            }
            Output::Lines { status } => {
                *status = Instant::now();
                say!("[{}/{}] {}", self.begun, self.jobs, job.title);
            }
        }
        self.show(lane);
    }

    /// News of the job, or `None` as time goes by.
    pub fn progress(&mut self, lane: usize, progress: Option<&Progress>) {
        if let Some(progress) = progress {
            if progress.steps > 0 {
                self.pace.at(lane, progress.step as f64 / progress.steps as f64, Instant::now());
            }
            self.lanes[lane].last = progress.clone();
        }
        self.show(lane);
    }

    /// The job has ended; `fresh` is false where it had been done before.
    pub fn end(&mut self, lane: usize, job: &Job, fresh: bool) {
        self.pace.end(lane);
        let Lane { number, started, .. } = self.lanes[lane];
        let mut line = format!("[{number}/{}] {}", self.jobs, job.title);
        if let Some(outcome) = job.outcome() {
            line += &format!(": {outcome}");
        }
        line += &if fresh {
            format!(", {}", duration(started.elapsed().as_secs_f64()))
        } else {
            " (done before)".to_string()
        };
        match &self.output {
            // Only a lost terminal can refuse a line.
            Output::Bars { all, .. } => drop(all.println(line)),
            Output::Lines { .. } => say!("{line}"),
        }
        self.show(lane);
    }

    /// Takes the bars away.
    pub fn clear(&self) {
        if let Output::Bars { whole, stages, .. } = &self.output {
            stages.iter().for_each(ProgressBar::finish_and_clear);
            whole.finish_and_clear();
        }
    }

    fn show(&mut self, lane: usize) {
        let now = Instant::now();
        let left = self.pace.remaining(now).map_or_else(String::new, |s| format!("about {} left", duration(s)));
        let last = &self.lanes[lane].last;
        match &mut self.output {
            Output::Bars { whole, stages, .. } => {
                whole.set_prefix(format!("stage {} of {}", self.begun, self.jobs));
                whole.set_position((self.pace.share() * PARTS as f64) as u64);
                whole.set_message(left);
                if last.steps > 0 {
                    stages[lane].set_length(last.steps);
                    stages[lane].set_position(last.step);
                    stages[lane].set_message(describe(last));
                }
            }
            Output::Lines { status } => {
                if now - *status >= STATUS {
                    *status = now;
                    let whole = format!("{:.0} % of the run", 100.0 * self.pace.share());
                    let parts = [describe(last), whole, left];
                    let known: Vec<_> = parts.into_iter().filter(|p| !p.is_empty()).collect();
                    say!("  {}", known.join(" · "));
                }
            }
        }
    }
}

/// Step, loss, speed and time left of the stage at hand, as far as they are known.
fn describe(p: &Progress) -> String {
    let parts = [
        (p.steps > 0).then(|| format!("step {} of {}", p.step, p.steps)),
        p.loss.map(|loss| format!("loss {loss:.4}")),
        p.note.clone(),
        p.images_per_s.map(|speed| format!("{speed:.0} images/s")),
        p.eta_s.map(|s| format!("{} to go", duration(s))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn bars(lanes: usize) -> Output {
    let style = |template: &str| {
        // The templates are ours: a mistake in one costs the looks, not the run.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        style.progress_chars("━━─")
    };
    let all = MultiProgress::new();
    let whole = all.add(ProgressBar::new(PARTS));
    whole.set_style(style("{prefix:.bold} {bar:30.green/dim} {percent} % · {elapsed} · {msg}"));
    let stage = || {
        let bar = all.add(ProgressBar::new(1));
        bar.set_style(style("{prefix} {bar:30.cyan/dim} {msg}"));
        bar
    };
    let stages = (0..lanes).map(|_| stage()).collect();
    whole.enable_steady_tick(Duration::from_secs(1));
    Output::Bars { all, whole, stages }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_said() {
        let mut p = Progress { step: 3, steps: 10, ..Progress::default() };
        assert_eq!(describe(&p), "step 3 of 10");
        (p.loss, p.images_per_s, p.eta_s) = (Some(1.23456), Some(99.6), Some(61.0));
        p.note = Some("accuracy 50.0 %".into());
        assert_eq!(describe(&p), "step 3 of 10 · loss 1.2346 · accuracy 50.0 % · 100 images/s · 1 min 1 s to go");
    }
}
