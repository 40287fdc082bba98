//! `reproduce`: an experiment from its file to its report.

mod crew;
mod display;
mod extras;
mod folds;
mod forecast;
pub mod grid;
mod job;
mod own;
mod pace;
mod run;
mod study;
mod table;

use crate::layout;
use crate::output;
use crate::readable::duration;
use crate::stages::{self, TOOL};
use crate::workspace::{self, Binaries, Extras, Launcher};
use anyhow::{Context, Result, bail, ensure};
use forecast::Forecast;
use grid::Grid;
use job::Common;
pub use job::{Interrupted, Job};
use own::Own;
use run::{first, output_of, read, run_jobs, with_set};
use std::path::{Path, PathBuf};
use std::time::Instant;
use study::Study;

/// Arguments of `reproduce`.
#[derive(clap::Args)]
pub struct Args {
    /// The experiment
    #[arg(default_value = "configs/quickstart.toml")]
    config: PathBuf,
    #[command(flatten)]
    own: Own,
    /// The run's folder [default: runs/NAME, by the name in CONFIG, or by that of the folder of --images]
    #[arg(long)]
    out: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N, or several (cuda:0,cuda:1), which then compute a stage each
    #[arg(long, default_value = "auto")]
    device: String,
    /// Run so many stages at once, on equal shares of the threads [default: one, or one for each device]
    #[arg(long, value_name = "N")]
    at_once: Option<usize>,
    #[command(flatten)]
    study: Study,
    /// Override a value: pretrain.training.batch=128
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Start anew; a run that is there already is renamed, not removed
    #[arg(long)]
    fresh: bool,
    /// Threads of every stage, or of each rank [default: all]
    #[arg(long)]
    threads: Option<usize>,
    /// Compute each batch on so many ranks: threads of one process, with a GPU each where there are GPUs
    #[arg(long, value_name = "N", conflicts_with = "launcher")]
    ranks: Option<usize>,
    /// Compute each batch on the processes that this starts, over MPI: "mpirun -n 4", "srun"
    #[arg(long, value_name = "COMMAND")]
    launcher: Option<String>,
    #[command(flatten)]
    forecast: Forecast,
}

impl Args {
    /// A run on the CPU with defaults for the rest.
    pub fn new(config: PathBuf, out: PathBuf) -> Self {
        let own = Own::default();
        let (out, device) = (Some(out), "cpu".into());
        Self {
            config,
            own,
            out,
            device,
            set: vec![],
            fresh: false,
            threads: None,
            ranks: None,
            launcher: None,
            forecast: Forecast::default(),
            at_once: None,
            study: Study::default(),
        }
    }

    /// A short run on the CPU for the pictures of a folder that the example `pictures` of `simclr-data-tools` made.
    pub fn own(made: &Path, table: &str, out: PathBuf) -> Self {
        let own = Own {
            images: Some(made.join("pictures")),
            labels: vec![made.join(table).display().to_string()],
            test: Some(made.join("test").display().to_string()),
            hours: Some(0.005),
            ..Own::default()
        };
        Self { own, ..Self::new(PathBuf::new(), out) }
    }

    /// Builds programs for what was asked for.
    fn build(&self, packages: &[&str], extras: Extras) -> Result<Binaries> {
        let launcher = self.launcher.as_deref().map(Launcher::new).transpose()?;
        Binaries::build_for(packages, self.first_device(), extras, launcher)
    }

    /// The device, or the first of several.
    fn first_device(&self) -> &str {
        first(&self.device)
    }

    /// The run's folder.
    fn folder(&self, config: &Path) -> Result<PathBuf> {
        match &self.out {
            Some(out) => Ok(out.clone()),
            None => Ok(Path::new("runs").join(name_of(config, &self.set)?)),
        }
    }

    fn common(&self, config: PathBuf, set: Vec<String>) -> Common {
        let (device, threads, ranks, at_once) = (self.device.clone(), self.threads, self.ranks, self.at_once);
        Common { config, set, device, threads, ranks, at_once }
    }
}

/// Runs the experiment and gives the folder of its report; with `--dry-run`, that of its runs.
///
/// # Errors
/// When the build fails, or a stage, whose last words are then part of the message.
pub fn run(args: &Args) -> Result<PathBuf> {
    if args.study.is_asked_for() {
        return study(args);
    }
    if args.forecast.dry_run {
        return dry_run(args);
    }
    if args.own.images.is_some() {
        return own_pictures(args);
    }
    let config = workspace::find(&args.config)?;
    let out = args.folder(&config)?;
    let programs = stages::programs();
    let binaries = match extras::reason(&read(&config)?, &args.set) {
        Some(key) => {
            say!("building the stages, the Hugging Face hub and parquet files included: {key}");
            args.build(&programs, Extras::With)?
        }
        None => {
            say!(
                "building the stages without the Hugging Face hub and parquet files, which this experiment does not need"
            );
            args.build(&programs, Extras::Without)?
        }
    };
    let common = args.common(config, args.set.clone());
    // The plan comes first: a mistake in the configuration must not move an earlier run.
    let jobs = plan(&binaries, &common, &out)?;
    if args.fresh {
        set_aside(&out)?;
    }
    experiment(&binaries, &common, &out, &jobs, false)
}

/// The jobs of an experiment that would run into `out` on the CPU; builds the stages.
///
/// # Errors
/// When the build fails, or the experiment is not valid.
pub fn jobs(config: &Path, set: &[String], out: &Path) -> Result<Vec<Job>> {
    let args = Args { set: set.to_vec(), ..Args::new(config.into(), out.into()) };
    let config = workspace::find(config)?;
    let extras = if extras::reason(&read(&config)?, set).is_some() { Extras::With } else { Extras::Without };
    let binaries = args.build(&stages::programs(), extras)?;
    plan(&binaries, &args.common(config, args.set.clone()), out)
}

/// Runs a grid of experiments, or tells what it takes, and gives its folder.
fn study(args: &Args) -> Result<PathBuf> {
    let asked = args.study.find(args.out.as_deref(), &args.set)?;
    // Each run has the experiment of its cell.
    let common = args.common(asked.file.clone(), Vec::new());
    if args.forecast.dry_run {
        let grid = Grid::new(Binaries::build(&[TOOL], "cpu", asked.extras)?, common, asked.told, &asked.out);
        return grid.forecast(&args.forecast.arguments());
    }
    Grid::new(args.build(&stages::programs(), asked.extras)?, common, asked.told, &asked.out).to_its_page()
}

/// Prints what the experiment takes, and gives the folder that its runs would have.
fn dry_run(args: &Args) -> Result<PathBuf> {
    ensure!(
        args.own.images.is_none(),
        "--dry-run with --images: an experiment for your own pictures is made by measuring them; write it by `cargo xtask new \
         --images DIR`, then name its file"
    );
    let config = workspace::find(&args.config)?;
    let out = args.folder(&config)?;
    let extras = if extras::reason(&read(&config)?, &args.set).is_some() { Extras::With } else { Extras::Without };
    let binaries = Binaries::build(&[TOOL], "cpu", extras)?;
    let mut command = binaries.command(TOOL);
    command.arg("estimate").arg("--config").arg(&config).arg("--out").arg(&out).args(args.forecast.arguments());
    output::put(output_of(with_set(&mut command, &args.set), "the estimate")?.as_bytes());
    Ok(out)
}

/// All programs that an experiment may need: those of the stages, and the one that makes experiments.
pub fn programs() -> Vec<&'static str> {
    [stages::programs().as_slice(), &[own::RECIPE]].concat()
}

/// Makes an experiment for a person's own pictures and runs it, once or once a fold.
fn own_pictures(args: &Args) -> Result<PathBuf> {
    let own = &args.own;
    let out = args.out.clone().unwrap_or_else(|| own.out());
    // Mistakes come first: they must not move an earlier run.
    let set: Vec<String> = own.set()?.into_iter().chain(args.set.iter().cloned()).collect();
    if let Some(images) = own.images.as_deref() {
        ensure!(images.is_dir(), "--images {}: no such folder", images.display());
    }
    ensure!(own.folds.is_none_or(|folds| folds >= 2), "--folds {}: must be at least 2", own.folds.unwrap_or_default());
    say!("building the stages");
    let binaries = args.build(&programs(), own.extras())?;
    if args.fresh {
        set_aside(&out)?;
    }
    let config = out.join(layout::OWN_EXPERIMENT);
    let relabeled = own.make(&binaries, &config, args.first_device(), args.threads)?;
    let common = args.common(config, set);
    let Some(folds) = own.folds else {
        if relabeled {
            own::set_results_aside(&out)?;
        }
        return experiment(&binaries, &common, &out, &plan(&binaries, &common, &out)?, true);
    };
    let mut report = PathBuf::new();
    for fold in 0..folds {
        let folder = folds::folder(&out, fold);
        if relabeled && folder.is_dir() {
            own::set_results_aside(&folder)?;
        }
        say!("\nfold {} of {folds}", fold + 1);
        let set = [common.set.as_slice(), &[format!("data.fold=[{fold}, {folds}]")]].concat();
        let common = Common { set, config: common.config.clone(), device: common.device.clone(), ..common };
        report = experiment(&binaries, &common, &folder, &plan(&binaries, &common, &folder)?, true)?;
    }
    say!("\n{}\nof all folds: {}", folds::gather(&out, folds)?, out.join(layout::FOLDS).display());
    Ok(report)
}

/// Runs the jobs of an experiment into `out`, and its report; where pictures are somebody's own, the best network classifies
/// those without a label in between, and says which to label next.
fn experiment(binaries: &Binaries, common: &Common, out: &Path, jobs: &[Job], own: bool) -> Result<PathBuf> {
    let logs = out.join(layout::LOGS);
    std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
    say!("{} stages into {}; stop at any time, the same command goes on", jobs.len(), out.display());

    let start = Instant::now();
    run_jobs(binaries, common, jobs, &logs)?;

    if own {
        let mut command = binaries.command(TOOL);
        command.arg("review").arg("--config").arg(&common.config).arg("--run").arg(out);
        command.args(["--device", first(&common.device)]);
        if let Some(threads) = common.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        let status = with_set(&mut command, &common.set).status().context("starting the review")?;
        ensure!(status.success(), "the review failed; the reason is above");
    }
    let report = out.join(layout::REPORT);
    let mut command = binaries.command(TOOL);
    command.arg("report").arg("--config").arg(&common.config).arg("--run").arg(out);
    output_of(with_set(&mut command, &common.set), "the report")?;
    say!("\n{}", table::render(&report.join(layout::RESULTS))?);
    say!("{} in all; report: {}", duration(start.elapsed().as_secs_f64()), report.join(layout::PAGE).display());
    Ok(report)
}

/// Arguments of `new`.
#[derive(clap::Args)]
pub struct NewArgs {
    #[command(flatten)]
    own: Own,
    /// The experiment that is written [default: experiments/NAME/experiment.toml, by the folder of --images]
    #[arg(long)]
    out: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: String,
    /// Threads [default: all]
    #[arg(long)]
    threads: Option<usize>,
}

/// Writes an experiment for a person's own pictures, and what it was made from beside it.
///
/// # Errors
/// When the build fails or the pictures cannot be read.
pub fn new(args: &NewArgs) -> Result<()> {
    let out = match (&args.out, &args.own.images) {
        (Some(out), Some(_)) => out.clone(),
        (None, Some(_)) => {
            Path::new("experiments").join(args.own.out().file_name().unwrap_or_default()).join(layout::OWN_EXPERIMENT)
        }
        (_, None) => bail!("--images DIR: the folder of your pictures is missing"),
    };
    let binaries = Binaries::build(&[own::RECIPE], &args.device, args.own.extras())?;
    args.own.make(&binaries, &out, &args.device, args.threads).map(|_| ())
}

/// The jobs, as `simclr-eval plan` lists them; it checks the configuration, too.
fn plan(binaries: &Binaries, common: &Common, out: &Path) -> Result<Vec<Job>> {
    let mut command = binaries.command(TOOL);
    command.arg("plan").arg("--config").arg(&common.config).arg("--out").arg(out);
    let json = output_of(with_set(&mut command, &common.set), "the plan")?;
    serde_json::from_str(&json).with_context(|| format!("{TOOL} plan printed no list of jobs"))
}

/// The experiment's name, which its folder is called after.
fn name_of(config: &Path, set: &[String]) -> Result<String> {
    if let Some(name) = set.iter().rev().find_map(|pair| pair.strip_prefix("name=")) {
        return Ok(name.trim_matches('"').into());
    }
    let table = read(config)?;
    let name = table.get("name").and_then(|v| v.as_str());
    name.map(String::from)
        .with_context(|| format!("{}: `name` is missing; the run's folder is called after it", config.display()))
}

/// Renames an existing folder to the first free of `DIR.1`, `DIR.2`, ...
fn set_aside(out: &Path) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    let numbered = |i: usize| {
        let mut name = out.as_os_str().to_owned();
        name.push(format!(".{i}"));
        PathBuf::from(name)
    };
    let free = (1..).map(numbered).find(|p| !p.exists()).context("no free name")?;
    std::fs::rename(out, &free).with_context(|| format!("renaming {} to {}", out.display(), free.display()))?;
    say!("the earlier run is now {}", free.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn temporary(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("simclr-xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn an_earlier_run_is_never_lost() {
        let folder = temporary("fresh");
        let run = folder.join("run");
        for text in ["first", "second", "third"] {
            set_aside(&run).unwrap();
            std::fs::create_dir(&run).unwrap();
            std::fs::write(run.join("result"), text).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.join(name).join("result")).unwrap();
        assert_eq!((read("run.1"), read("run.2"), read("run")), ("first".into(), "second".into(), "third".into()));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_folder_is_called_after_the_experiment() {
        let folder = temporary("name");
        let file = folder.join("c.toml");
        std::fs::write(&file, "name = \"tiny\"\n[data]\nname = \"other\"\n").unwrap();
        assert_eq!(name_of(&file, &[]).unwrap(), "tiny");
        assert_eq!(name_of(&file, &["name=mine".into()]).unwrap(), "mine");
        std::fs::write(&file, "[data]\n").unwrap();
        assert!(name_of(&file, &[]).unwrap_err().to_string().contains("`name` is missing"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
