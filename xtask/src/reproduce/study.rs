//! `reproduce --experiment NAME`: a grid of experiments that answers one question, from its file to its page.

use super::Args;
use super::grid::{self, Grid};
use crate::layout;
use crate::readable::duration;
use crate::stages::{self, TOOL};
use crate::workspace::{Binaries, root};
use anyhow::{Context, Result, bail};
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
    let mut told = grid::told((&file, study.scale()), study.pool.as_deref(), &out, &args.set);
    let lists = [("--cells", &study.cells), ("--seeds", &study.seeds)];
    told.extend(lists.into_iter().filter_map(|(name, list)| Some([name.to_string(), list.clone()?])).flatten());
    let extras = grid::extras_of(&file, study.scale(), &args.set)?;
    // Each run has the experiment of its cell.
    let common = args.common(file, Vec::new());
    if args.forecast.dry_run {
        let grid = Grid::new(Binaries::build(&[TOOL], "cpu", extras)?, common, told, &out);
        let more = args.forecast.arguments();
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        crate::output::put(grid.ask("estimate", (&[], &[]), &more)?.as_bytes());
        return Ok(out);
    }
    let grid = Grid::new(args.build(&stages::programs(), extras)?, common, told, &out);
    let start = Instant::now();
    grid.run(&[], &[])?;
    let told = grid::made(grid.lanes()?);
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    say!("\n{}", grid.ask("report", (&[], &[]), &told)?.trim_end());
    say!("{} in all; page: {}", duration(start.elapsed().as_secs_f64()), out.join(layout::PAGE).display());
    Ok(out)
}
