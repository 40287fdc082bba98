//! When a run is killed: moments drawn for its jobs, and how they are seen to come.

use crate::layout;
use crate::reproduce::Job;
use crate::stages::{STAGES, Work};
use anyhow::{Context, Result};
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Random numbers by SplitMix64: the same for a seed wherever they are drawn.
pub struct Draws(u64);

impl Draws {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in 0..1.
    pub fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
}

/// What a kill waits for, once its job is at hand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// This share of the job's steps, or of its time where it tells of no steps.
    Within(f64),
    /// The first file that it writes past this share of its steps: between the file's making and its renaming.
    Writing(f64),
    /// The job has begun.
    Beginning,
    /// The job has finished, and the next is about to begin.
    Between,
}

/// One kill: a job by its number, the one past the last is the report; what it waits for, and how much longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Kill {
    /// The job.
    pub job: usize,
    /// What it waits for.
    pub moment: Moment,
    /// Then this much longer.
    pub delay: Duration,
    /// How long the job takes when nothing disturbs it, seconds.
    pub seconds: f64,
}

impl Kill {
    /// The kill where its job has ended before it came: within the job that is at hand now.
    pub fn moved(&self, job: usize, seconds: &[f64], draws: &mut Draws) -> Self {
        let delay = Duration::from_secs_f64(0.05 * draws.share());
        Self { job, moment: Moment::Within(draws.share()), delay, seconds: seconds[job] }
    }
}

/// How long each job of an undisturbed run took, and last its report: from the times of its files.
///
/// # Errors
/// When a file is missing: the run is not finished.
pub fn seconds(jobs: &[Job], out: &Path, undisturbed: &Path) -> Result<Vec<f64>> {
    let written = |path: PathBuf| -> Result<SystemTime> {
        let meta = std::fs::metadata(&path).with_context(|| format!("{}: the run is not finished", path.display()))?;
        meta.modified().context("times of files")
    };
    let there = |job: &Job| undisturbed.join(job.dir.strip_prefix(out).unwrap_or(&job.dir));
    let mut found = Vec::new();
    let mut last = None;
    for job in jobs {
        let (begun, ended) = (written(there(job).join(layout::EXPERIMENT))?, written(there(job).join(layout::RESULT))?);
        let begun = last.unwrap_or(begun);
        found.push(ended.duration_since(begun).unwrap_or_default().as_secs_f64());
        last = Some(ended);
    }
    let report = written(undisturbed.join(layout::REPORT).join(layout::RESULTS))?;
    let since = last.and_then(|last| report.duration_since(last).ok()).unwrap_or_default();
    found.push(since.as_secs_f64());
    Ok(found)
}

/// Draws moments: one for each job as far as they reach, the others by how long jobs take; in the order in which they come.
pub fn draw(jobs: &[Job], seconds: &[f64], kills: usize, seed: u64) -> Vec<Kill> {
    let mut draws = Draws::new(seed);
    let mut counts = vec![0usize; seconds.len()];
    let mut order: Vec<usize> = (0..seconds.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, draws.below(i + 1));
    }
    order.iter().take(kills).for_each(|job| counts[*job] += 1);
    let whole: f64 = seconds.iter().sum();
    for _ in seconds.len()..kills {
        let mut at = draws.share() * whole;
        let job = seconds.iter().position(|s| {
            at -= s;
            at < 0.0
        });
        counts[job.unwrap_or(0)] += 1;
    }
    let mut found = Vec::new();
    for (job, count) in counts.into_iter().enumerate() {
        let trains = jobs.get(job).is_some_and(trains);
        let mut own: Vec<Kill> = (0..count).map(|_| one(job, trains, seconds[job], &mut draws)).collect();
        own.sort_by(|a, b| a.place().total_cmp(&b.place()));
        found.extend(own);
    }
    found
}

fn one(job: usize, trains: bool, seconds: f64, draws: &mut Draws) -> Kill {
    let share = draws.share();
    let (moment, most) = match draws.below(if trains { 10 } else { 6 }) {
        0 => (Moment::Beginning, 0.3),
        1 => (Moment::Between, 0.2),
        2..5 => (Moment::Writing(share), 0.02),
        _ => (Moment::Within(share), 0.05),
    };
    Kill { job, moment, delay: Duration::from_secs_f64(most * draws.share()), seconds }
}

impl Kill {
    /// Where in its job it comes: kills of one job wait for one another.
    fn place(&self) -> f64 {
        match self.moment {
            Moment::Beginning => -1.0,
            Moment::Within(share) | Moment::Writing(share) => share,
            Moment::Between => 2.0,
        }
    }
}

/// Whether a job takes steps.
fn trains(job: &Job) -> bool {
    STAGES.iter().any(|stage| stage.program == job.program && matches!(stage.work, Work::Train { .. }))
}

/// Where a run was when it was ended.
pub struct At {
    /// The job's number.
    pub number: usize,
    /// Its name.
    pub job: String,
    /// Its folder.
    pub dir: PathBuf,
    /// The last step that it had told of.
    pub step: Option<u64>,
    /// The step that it had gone on from, where it had been started before.
    pub resumed: Option<u64>,
    /// What was waited for.
    pub moment: Option<Moment>,
    /// A file that was being written.
    pub writing: Option<String>,
}

impl At {
    /// Whether the stage may not have come to its first step yet.
    pub fn has_just_begun(&self) -> bool {
        self.step == self.resumed || matches!(self.moment, Some(Moment::Beginning | Moment::Between))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.job)?;
        if let Some(step) = self.step {
            write!(f, ", step {step}")?;
        }
        if let Some(name) = &self.writing {
            write!(f, ", {name} half written")?;
        }
        match self.moment {
            Some(Moment::Beginning) => write!(f, ", as it began"),
            Some(Moment::Between) => write!(f, ", before it had begun"),
            _ => Ok(()),
        }
    }
}

/// Watches a run for the moment of a kill.
pub struct Watch<'a> {
    out: &'a Path,
    jobs: &'a [Job],
    kill: Option<Kill>,
    /// What the job's metrics were when this process began: those steps are an earlier one's.
    before: Vec<Option<(u64, SystemTime)>>,
    resumed: Option<u64>,
    /// When the job was first seen at work.
    begun: Option<Instant>,
    due: Option<Instant>,
    started: Instant,
    since: SystemTime,
}

impl<'a> Watch<'a> {
    /// For a run in `out` that is about to begin, or to go on.
    pub fn new(out: &'a Path, jobs: &'a [Job]) -> Self {
        let before = jobs.iter().map(|job| stamp(&job.dir.join(layout::METRICS))).collect();
        let (kill, resumed, begun, due) = (None, None, None, None);
        Self { out, jobs, kill, before, resumed, begun, due, started: Instant::now(), since: SystemTime::now() }
    }

    /// The job at hand: the first without a result; past the last, the report.
    pub fn job(&self) -> usize {
        self.jobs.iter().position(|job| !job.dir.join(layout::RESULT).exists()).unwrap_or(self.jobs.len())
    }

    /// What to watch for.
    pub fn wait_for(&mut self, kill: Kill) {
        self.kill = Some(kill);
        (self.started, self.since) = (Instant::now(), SystemTime::now());
    }

    fn dir(&self, job: usize) -> PathBuf {
        self.jobs.get(job).map_or_else(|| self.out.join(layout::REPORT), |job| job.dir.clone())
    }

    /// Whether the moment has come.
    ///
    /// # Errors
    /// When the run's files cannot be read.
    pub fn due(&mut self) -> Result<bool> {
        let Some(kill) = self.kill.clone() else { return Ok(false) };
        if self.due.is_none() && self.comes(&kill)? {
            self.due = Some(Instant::now() + kill.delay);
        }
        Ok(self.due.is_some_and(|due| Instant::now() >= due))
    }

    fn comes(&mut self, kill: &Kill) -> Result<bool> {
        let job = self.job();
        if job < kill.job {
            return Ok(false);
        }
        if kill.job < job {
            // Its job has just ended.
            return Ok(true);
        }
        let dir = self.dir(job);
        let metrics = dir.join(layout::METRICS);
        // What an earlier process left does not tell that this one has begun.
        let now = stamp(&metrics);
        let at_work = match self.before.get(job) {
            Some(before) => now.is_some() && now != *before,
            None => self.started.elapsed() > Duration::from_millis(100),
        };
        if !at_work {
            return Ok(false);
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let step = last_step(&metrics);
        if self.resumed.is_none() {
            self.resumed = step;
        }
        let passed = |share: f64| match (self.jobs.get(job).and_then(steps), step) {
            (Some(steps), step) => step.unwrap_or(0) as f64 >= share * steps as f64,
            // Its time begins before the first sign of it.
            _ => begun.elapsed().as_secs_f64() >= 0.6 * share * kill.seconds,
        };
        Ok(match kill.moment {
            Moment::Beginning => true,
            Moment::Within(share) => passed(share),
            Moment::Writing(share) => passed(share) && partial(&dir, self.since).is_some(),
            Moment::Between => false,
        })
    }

    /// Where the run is.
    ///
    /// # Errors
    /// When the run's files cannot be read.
    pub fn at(&self) -> Result<At> {
        let number = self.job();
        let dir = self.dir(number);
        Ok(At {
            number,
            job: self.jobs.get(number).map_or("report", |job| &job.id).into(),
            step: last_step(&dir.join(layout::METRICS)),
            resumed: self.resumed,
            moment: self.kill.as_ref().map(|kill| kill.moment),
            writing: partial(&dir, self.since),
            dir,
        })
    }
}

/// The steps of a job, where its files tell.
fn steps(job: &Job) -> Option<u64> {
    let manifest = std::fs::read_to_string(job.dir.join(layout::MANIFEST)).ok()?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest).ok()?;
    find(&manifest["config"], "length")?.get("steps")?.as_u64()
}

fn find<'a>(value: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    let table = value.as_object()?;
    table.get(key).or_else(|| table.values().find_map(|value| find(value, key)))
}

fn stamp(path: &Path) -> Option<(u64, SystemTime)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.len(), meta.modified().ok()?))
}

/// The step of the last whole line.
fn last_step(path: &Path) -> Option<u64> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(8192))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["step"].as_u64();
    text.lines().rev().find_map(step)
}

/// A file of a folder that is being written: under a name of its own until it is whole. What an earlier kill left is older
/// than `since`.
fn partial(dir: &Path, since: SystemTime) -> Option<String> {
    let folders = [dir.to_path_buf(), dir.join(layout::CHECKPOINT), dir.join(layout::BEST)];
    let entries = folders.iter().flat_map(std::fs::read_dir).flatten().flatten();
    entries.into_iter().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let name = name.strip_prefix('.')?.strip_suffix(".partial")?.to_string();
        (entry.metadata().ok()?.modified().ok()? >= since).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_killed_and_long_ones_more_often() {
        let seconds = [1.0, 100.0, 1.0, 0.5];
        let kills = draw(&[], &seconds, 30, 3);
        let count = |job| kills.iter().filter(|kill| kill.job == job).count();
        assert_eq!((0..4).map(count).sum::<usize>(), 30);
        assert!((0..4).all(|job| count(job) > 0) && count(1) > 20, "{kills:?}");
        assert!(kills.windows(2).all(|pair| (pair[0].job, pair[0].place()) <= (pair[1].job, pair[1].place())));
        assert_eq!(kills, draw(&[], &seconds, 30, 3), "a seed says all");
        assert_ne!(kills, draw(&[], &seconds, 30, 4));
        assert_eq!(draw(&[], &seconds, 2, 3).len(), 2);
    }
}
