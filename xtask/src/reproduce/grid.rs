//! A grid of experiments: its programs, its runs, and what is asked about it.

use super::job::{Common, Job};
use super::run::{first, output_of, read, run_jobs};
use super::{crew, extras};
use crate::layout;
use crate::machine;
use crate::output;
use crate::readable::duration;
use crate::stages::{self, TOOL};
use crate::workspace::{Binaries, Extras};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A grid whose programs are built.
pub struct Grid {
    binaries: Binaries,
    common: Common,
    out: PathBuf,
    /// What every command about it is told.
    told: Vec<String>,
}

impl Grid {
    /// Builds what the grid of a file needs at one of its scales. Told are the folder of the runs, that of the grid's own files, overrides, and
    /// the device, how many runs at once, and the threads.
    ///
    /// # Errors
    /// When the build fails, or the base experiment is not there.
    pub fn build(
        (file, scale): (&Path, &str),
        (pool, out): (Option<&Path>, &Path),
        set: Vec<String>,
        (device, at_once, threads): (String, Option<usize>, Option<usize>),
    ) -> Result<Self> {
        let binaries = Binaries::build(&stages::programs(), first(&device), extras_of(file, scale, &set)?)?;
        let common = Common { config: file.into(), set: Vec::new(), device, threads, ranks: None, at_once };
        Ok(Self::new(binaries, common, told((file, scale), pool, out, &set), out))
    }

    /// One whose programs are there; `common` is told to every run but for its experiment, which is that of its cell.
    pub fn new(binaries: Binaries, common: Common, told: Vec<String>, out: &Path) -> Self {
        Self { binaries, common, out: out.into(), told }
    }

    /// Runs all of it, or some cells with some seeds, and what of it has not been run.
    ///
    /// # Errors
    /// When it is not valid, or a run fails.
    pub fn run(&self, cells: &[String], seeds: &[u64]) -> Result<()> {
        let json = self.ask("plan", (cells, seeds), &[])?;
        let jobs: Vec<Job> = serde_json::from_str(&json).with_context(|| format!("{TOOL} printed no list of runs"))?;
        let logs = self.out.join(layout::LOGS);
        std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        let done = jobs.iter().filter(|job| job.is_finished()).count();
        say!(
            "{} runs for {}, {done} of them done before; stop at any time, the same command goes on",
            jobs.len(),
            self.out.display()
        );
        run_jobs(&self.binaries, &self.common, &jobs, &logs)
    }

    /// Prints what each cell takes, and gives its folder.
    ///
    /// # Errors
    /// When it is not valid.
    pub fn forecast(&self, more: &[String]) -> Result<PathBuf> {
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        output::put(self.ask("estimate", (&[], &[]), &more)?.as_bytes());
        Ok(self.out.clone())
    }

    /// Runs all of it, writes its page, and gives its folder.
    ///
    /// # Errors
    /// When it is not valid, or a run fails.
    pub fn to_its_page(&self) -> Result<PathBuf> {
        let start = Instant::now();
        self.run(&[], &[])?;
        self.report((&[], &[]), &[])?;
        say!("{} in all", duration(start.elapsed().as_secs_f64()));
        Ok(self.out.clone())
    }

    /// Writes its page, and prints its tables.
    ///
    /// # Errors
    /// When a result cannot be read.
    pub fn report(&self, of: (&[String], &[u64]), more: &[&str]) -> Result<()> {
        let made = made(crew::lanes(&self.common.device, self.common.at_once, self.common.threads)?.len());
        let all: Vec<&str> = made.iter().map(String::as_str).chain(more.iter().copied()).collect();
        say!("\n{}", self.ask("report", of, &all)?.trim_end());
        Ok(())
    }

    /// What a command about some cells and seeds prints; none stands for all.
    ///
    /// # Errors
    /// When it fails.
    pub fn ask(&self, what: &str, (cells, seeds): (&[String], &[u64]), more: &[&str]) -> Result<String> {
        let mut command = self.binaries.command(TOOL);
        command.args(["study", what]).args(&self.told);
        if !cells.is_empty() {
            command.args(["--cells", &cells.join(",")]);
        }
        if !seeds.is_empty() {
            command.args(["--seeds", &seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(",")]);
        }
        output_of(command.args(more), what)
    }
}

/// What every command about a grid is told: its file and scale, the folder of the runs, its own folder, and overrides.
pub fn told((file, scale): (&Path, &str), pool: Option<&Path>, out: &Path, set: &[String]) -> Vec<String> {
    let pool = pool.unwrap_or(Path::new(layout::POOL));
    let text = |path: &Path| path.display().to_string();
    let mut all = vec!["--study".into(), text(file), "--scale".into(), scale.into()];
    all.extend(["--pool".into(), text(pool), "--out".into(), text(out)]);
    all.extend(set.iter().flat_map(|pair| ["--set".to_string(), pair.clone()]));
    all
}

/// What a report says of how it was made.
fn made(lanes: usize) -> Vec<String> {
    let commit = machine::short_commit();
    let hardware = format!("{}, {} cores", machine::processor(), machine::threads());
    let pairs = [("--commit", commit), ("--hardware", hardware), ("--date", machine::today())];
    let pairs = pairs.into_iter().chain([("--at-once", lanes.to_string())]);
    pairs.flat_map(|(name, value)| [name.to_string(), value]).collect()
}

/// Whether a grid's experiments need the hub or parquet files.
///
/// # Errors
/// When its file or its base is not there.
pub fn extras_of(file: &Path, scale: &str, set: &[String]) -> Result<Extras> {
    let study = read(file)?;
    let scale = study.get("scale").and_then(|scales| scales.get(scale));
    let base = scale.and_then(|scale| scale.get("base")).and_then(|base| base.as_str());
    let Some(base) = base else { return Ok(Extras::Without) }; // The plan says what is wrong.
    let base = file.parent().unwrap_or(Path::new("")).join(base);
    ensure!(base.is_file(), "{}: the base {} is not there", file.display(), base.display());
    Ok(if extras::reason(&read(&base)?, set).is_some() { Extras::With } else { Extras::Without })
}
