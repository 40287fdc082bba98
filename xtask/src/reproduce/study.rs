//! Options of `reproduce --experiment NAME`: which grid of experiments, at which scale.

use super::grid;
use crate::layout;
use crate::workspace::{Extras, root};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

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

    /// What was asked for; `out` is the folder of its page, where that was named, and `set` are overrides.
    ///
    /// # Errors
    /// When there is no such grid, or its base experiment is not there.
    pub fn find(&self, out: Option<&Path>, set: &[String]) -> Result<Asked> {
        let (file, scale) = (self.file()?, self.scale());
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let out = out.map_or_else(|| Path::new(layout::STUDIES).join(format!("{name}-{scale}")), Path::to_path_buf);
        let mut told = grid::told((&file, scale), self.pool.as_deref(), &out, set);
        let lists = [("--cells", &self.cells), ("--seeds", &self.seeds)];
        told.extend(lists.into_iter().filter_map(|(name, list)| Some([name.to_string(), list.clone()?])).flatten());
        let extras = grid::extras_of(&file, scale, set)?;
        Ok(Asked { file, told, out, extras })
    }
}

/// A grid that was asked for.
pub struct Asked {
    /// Its file.
    pub file: PathBuf,
    /// What every command about it is told.
    pub told: Vec<String>,
    /// The folder of its page.
    pub out: PathBuf,
    /// What its programs must be able to read.
    pub extras: Extras,
}
