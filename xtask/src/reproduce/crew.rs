//! Runs jobs, several at once where there are devices or cores for them; each begins when what it needs has finished.

use super::display::Display;
use super::job::{Job, Progress};
use anyhow::{Result, bail};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};

/// A place where one job computes at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Threads, or the stage's default.
    pub threads: Option<usize>,
}

/// Lanes for `at_once` jobs: a device each in turn where several are named, and equal shares of the threads.
///
/// # Errors
/// When no job may run, or there are more lanes than threads.
pub fn lanes(device: &str, at_once: Option<usize>, threads: Option<usize>) -> Result<Vec<Lane>> {
    let devices: Vec<&str> = device.split(',').map(str::trim).collect();
    let count = at_once.unwrap_or(devices.len());
    if count == 1 {
        return Ok(vec![Lane { device: device.into(), threads }]);
    }
    let all = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    if count == 0 || count > all {
        bail!("--at-once {count}: must be at least 1, and at most {all}, the threads that there are")
    }
    let lane = |n: usize| Lane { device: devices[n % devices.len()].into(), threads: Some(all / count) };
    Ok((0..count).map(lane).collect())
}

/// What a lane tells.
enum News {
    Progress(Option<Progress>),
    Ended(Result<bool>),
}

/// Runs all jobs by `work`, which tells of their progress. A job begins when those whose folders stand in its arguments have
/// finished. After a failure no job begins, and those at work are asked to stop: `work` gets an error from telling.
///
/// # Errors
/// The first failure.
pub fn run<W>(jobs: &[Job], lanes: &[Lane], display: &mut Display, work: W) -> Result<()>
where
    W: Fn(&Job, &Lane, &mut dyn FnMut(Option<&Progress>) -> Result<()>) -> Result<bool> + Sync,
{
    let needs: Vec<Vec<usize>> = jobs.iter().map(|job| needs(job, jobs)).collect();
    let stop = AtomicBool::new(false);
    let (sender, news) = channel::<(usize, News)>();
    let mut state = vec![State::Waiting; jobs.len()];
    let mut at_work: Vec<Option<usize>> = vec![None; lanes.len()];
    let mut failure = None;
    std::thread::scope(|scope| {
        loop {
            for lane in 0..lanes.len() {
                let ready = |job: &usize| {
                    state[*job] == State::Waiting && needs[*job].iter().all(|other| state[*other] == State::Finished)
                };
                let next = (0..jobs.len()).find(ready).filter(|_| at_work[lane].is_none() && failure.is_none());
                if let Some(job) = next {
                    (state[job], at_work[lane]) = (State::Running, Some(job));
                    display.start(lane, &jobs[job]);
                    let (sender, stop, work, place) = (sender.clone(), &stop, &work, &lanes[lane]);
                    let job = &jobs[job];
                    scope.spawn(move || in_lane(lane, &sender, stop, |tell| work(job, place, tell)));
                }
            }
            if at_work.iter().all(Option::is_none) {
                return;
            }
            let Ok((lane, told)) = news.recv() else { return };
            match told {
                News::Progress(progress) => display.progress(lane, progress.as_ref()),
                News::Ended(result) => {
                    let Some(job) = at_work[lane].take() else { continue };
                    match result {
                        Ok(fresh) => {
                            state[job] = State::Finished;
                            display.end(lane, &jobs[job], fresh);
                        }
                        Err(error) => {
                            state[job] = State::Failed;
                            stop.store(true, Ordering::Relaxed);
                            // Those that were stopped for it fail later.
                            failure.get_or_insert(error);
                        }
                    }
                }
            }
        }
    });
    display.clear();
    match failure {
        Some(error) => Err(error),
        None => {
            let left = state.iter().filter(|s| **s != State::Finished).count();
            anyhow::ensure!(left == 0, "{left} runs wait for one another: the plan is not in order");
            Ok(())
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Finished,
    Failed,
}

/// One job in a thread of its own.
fn in_lane(
    lane: usize,
    sender: &Sender<(usize, News)>,
    stop: &AtomicBool,
    work: impl FnOnce(&mut dyn FnMut(Option<&Progress>) -> Result<()>) -> Result<bool>,
) {
    // The receiver lives as long as any job is at work.
    let tell = |news: News| drop(sender.send((lane, news)));
    let ended = work(&mut |progress| {
        if stop.load(Ordering::Relaxed) {
            bail!("stopped, since another run failed; its state is saved")
        }
        tell(News::Progress(progress.cloned()));
        Ok(())
    });
    tell(News::Ended(ended));
}

/// The jobs that must have finished before this one: those whose folders its arguments name.
fn needs(job: &Job, jobs: &[Job]) -> Vec<usize> {
    let named = |other: &Job| job.args.iter().any(|arg| Path::new(arg) == other.dir);
    jobs.iter().enumerate().filter(|(_, other)| named(other)).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Mutex;

    fn job(id: &str, args: &[&str]) -> Job {
        let args = args.iter().map(ToString::to_string).collect();
        let (title, program) = (id.to_string(), "simclr-pretrain".to_string());
        Job { id: id.into(), title, program, args, dir: id.into(), cost: 1.0, config: None }
    }

    fn two() -> Vec<Lane> {
        lanes("cpu", Some(2), Some(8)).unwrap()
    }

    #[test]
    fn a_job_waits_for_what_it_needs_and_others_do_not() {
        let jobs = [job("a", &[]), job("b", &["--from", "a"]), job("c", &[]), job("d", &["--from", "c"])];
        let order = Mutex::new(Vec::new());
        run(&jobs, &two(), &mut Display::new(&jobs, 2), |job, _, tell| {
            tell(None)?;
            // `a` ends only when `c` has: the two are at work together.
            while job.id == "a" && !order.lock().unwrap().contains(&"c".to_string()) {
                std::thread::yield_now();
            }
            order.lock().unwrap().push(job.id.clone());
            Ok(true)
        })
        .unwrap();
        let order = order.into_inner().unwrap();
        let at = |id: &str| order.iter().position(|x| x == id).unwrap();
        assert!(at("a") < at("b") && at("c") < at("d") && at("c") < at("a"), "{order:?}");
    }

    #[test]
    fn after_a_failure_the_others_are_stopped_and_nothing_begins() {
        let jobs = [job("a", &[]), job("b", &[]), job("c", &[])];
        let begun = Mutex::new(Vec::new());
        let error = run(&jobs, &two(), &mut Display::new(&jobs, 2), |job, _, tell| {
            begun.lock().unwrap().push(job.id.clone());
            if job.id == "a" {
                bail!("a broke")
            }
            loop {
                tell(None)?;
                std::thread::yield_now();
            }
        });
        assert_eq!(error.unwrap_err().to_string(), "a broke");
        assert!(!begun.into_inner().unwrap().contains(&"c".to_string()));
    }

    #[test]
    fn lanes_share_threads_and_devices() {
        let of = |device: &str, at_once, threads| lanes(device, at_once, threads);
        let lane = |device: &str, threads| Lane { device: device.into(), threads };
        assert_eq!(of("cpu", None, None).unwrap(), [lane("cpu", None)]);
        assert_eq!(of("cpu", Some(2), Some(5)).unwrap(), [lane("cpu", Some(2)), lane("cpu", Some(2))]);
        assert_eq!(of("cuda:0,cuda:1", None, Some(4)).unwrap(), [lane("cuda:0", Some(2)), lane("cuda:1", Some(2))]);
        assert!(of("cpu", Some(0), None).is_err() && of("cpu", Some(9), Some(8)).is_err());
    }
}
