//! `reproduce --experiment NAME`: a grid of experiments that answers one question, from its file to its page.

use super::job::{Common, Job};
use super::{Args, extras, output_of, read, run_jobs};
use crate::layout;
use crate::machine;
use crate::readable::duration;
use crate::stages::{self, TOOL};
use crate::workspace::{Binaries, Extras, root};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Options of a grid of experiments.
#[derive(clap::Args, Clone, Default)]
pub struct Study {
    /// Run a grid of experiments instead: its name (model-size, head, labels, ...) or its file; cells share what they can
    #[arg(long = "experiment", value_name = "NAME", conflicts_with_all = ["config", "images", "fresh"])]
    name: Option<String>,
    /// With --experiment: small (two cores, within an hour), medium (CIFAR-10, one GPU, a day) or paper (ImageNet) [default: small]
    #[arg(long, value_name = "SCALE", requires = "name")]
    scale: Option<String>,
    /// With --experiment: only these cells
    #[arg(long, value_name = "CELL,CELL", requires = "name")]
    cells: Option<String>,
    /// With --experiment: these seeds instead of the file's
    #[arg(long, value_name = "N,N", requires = "name")]
    seeds: Option<String>,
    /// With --experiment: the folder of the runs, which all grids share [default: runs/pool]
    #[arg(long, value_name = "DIR", requires = "name")]
    pool: Option<PathBuf>,
}

impl Study {
    /// Whether a grid is to be run.
    pub fn is_asked_for(&self) -> bool {
        self.name.is_some()
    }

    fn scale(&self) -> &str {
        self.scale.as_deref().unwrap_or("small")
    }

    /// The grid's file.
    fn file(&self) -> Result<PathBuf> {
        let name = self.name.as_deref().context("--experiment NAME is missing")?;
        let folder = root().join(layout::STUDY_FILES);
        let candidates = [PathBuf::from(name), folder.join(format!("{name}.toml"))];
        if let Some(file) = candidates.into_iter().find(|path| path.is_file()) {
            return Ok(file);
        }
        let mut known: Vec<String> = std::fs::read_dir(&folder)
            .with_context(|| format!("reading {}", folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()).filter(|path| path.extension().is_some_and(|e| e == "toml")))
            .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
            .collect();
        known.sort();
        bail!("--experiment {name}: there is none of that name, and no such file; there are {}", known.join(", "))
    }

    /// What every command about the grid is told.
    fn arguments(&self, file: &Path, out: &Path, set: &[String]) -> Vec<String> {
        let pool = self.pool.clone().unwrap_or_else(|| layout::POOL.into());
        let text = |path: &Path| path.display().to_string();
        let mut all = vec!["--study".into(), text(file), "--scale".into(), self.scale().into()];
        all.extend(["--pool".into(), text(&pool), "--out".into(), text(out)]);
        let lists = [("--cells", &self.cells), ("--seeds", &self.seeds)];
        all.extend(lists.into_iter().filter_map(|(name, list)| Some([name.to_string(), list.clone()?])).flatten());
        all.extend(set.iter().flat_map(|pair| ["--set".to_string(), pair.clone()]));
        all
    }
}

/// Runs the grid and gives the folder of its page.
///
/// # Errors
/// When it is not valid, the build fails, or a run does.
pub fn run(args: &Args) -> Result<PathBuf> {
    let study = &args.study;
    let file = study.file()?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let out = args.out.clone().unwrap_or_else(|| Path::new(layout::STUDIES).join(format!("{name}-{}", study.scale())));
    let told = study.arguments(&file, &out, &args.set);
    let extras = extras_of(&file, study.scale(), &args.set)?;
    if args.forecast.dry_run {
        let binaries = Binaries::build(&[TOOL], "cpu", extras)?;
        let mut command = binaries.command(TOOL);
        command.args(["study", "estimate"]).args(&told).args(args.forecast.arguments());
        crate::output::put(output_of(&mut command, "the estimate")?.as_bytes());
        return Ok(out);
    }
    let binaries = args.build(&stages::programs(), extras)?;
    let mut command = binaries.command(TOOL);
    let json = output_of(command.args(["study", "plan"]).args(&told), "the plan")?;
    let jobs: Vec<Job> = serde_json::from_str(&json).with_context(|| format!("{TOOL} printed no list of runs"))?;
    let logs = out.join(layout::LOGS);
    std::fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
    let done = jobs.iter().filter(|job| job.is_finished()).count();
    say!(
        "{} runs for {}, {done} of them done before; stop at any time, the same command goes on",
        jobs.len(),
        out.display()
    );

    let start = Instant::now();
    // Each run has the experiment of its cell.
    let common = Common { set: Vec::new(), ..args.common(file, Vec::new()) };
    run_jobs(&binaries, &common, &jobs, &logs)?;
    let lanes = super::crew::lanes(&common.device, common.at_once, common.threads)?.len();
    let mut command = binaries.command(TOOL);
    command.args(["study", "report"]).args(&told).args(made(lanes));
    say!("\n{}", output_of(&mut command, "the report")?.trim_end());
    say!("{} in all; page: {}", duration(start.elapsed().as_secs_f64()), out.join(layout::PAGE).display());
    Ok(out)
}

/// What a report says of how it was made.
fn made(lanes: usize) -> Vec<String> {
    let commit = machine::short_commit();
    let hardware = format!("{}, {} cores", machine::processor(), machine::threads());
    let pairs = [("--commit", commit), ("--hardware", hardware), ("--date", machine::today())];
    let pairs = pairs.into_iter().chain([("--at-once", lanes.to_string())]);
    pairs.flat_map(|(name, value)| [name.to_string(), value]).collect()
}

/// Whether the grid's experiments need the hub or parquet files.
fn extras_of(file: &Path, scale: &str, set: &[String]) -> Result<Extras> {
    let study = read(file)?;
    let scale = study.get("scale").and_then(|scales| scales.get(scale));
    let base = scale.and_then(|scale| scale.get("base")).and_then(|base| base.as_str());
    let Some(base) = base else { return Ok(Extras::Without) }; // The plan says what is wrong.
    let base = file.parent().unwrap_or(Path::new("")).join(base);
    ensure!(base.is_file(), "{}: the base {} is not there", file.display(), base.display());
    Ok(if extras::reason(&read(&base)?, set).is_some() { Extras::With } else { Extras::Without })
}
