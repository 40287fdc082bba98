//! The report of a run: `report/results.json` for programs and `report/index.html`, one file without network, for people.

#![forbid(unsafe_code)]

mod chart;
mod curves;
mod html;
pub mod inspect;
mod page;
mod pictures;
pub mod plan;
mod results;

pub use results::{ResultRow, Results};

use anyhow::{Context, Result};
use simclr_core::config::Config;
use std::path::{Path, PathBuf};

/// Gathers what the stages left below the folder `run` and writes its report. Gives the path of `index.html`.
///
/// A run that is not finished gets a report on what there is, which says so.
///
/// # Errors
/// When no stage of the run has finished, or a file of it cannot be read or written.
pub fn write(config: &Config, run: &Path) -> Result<PathBuf> {
    let jobs = plan::jobs(config, run)?;
    let results = Results::gather(config, &jobs, run)?;
    let folder = run.join("report");
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let json = serde_json::to_string_pretty(&results).context("writing the results")? + "\n";
    save(&folder.join("results.json"), &json)?;
    let page = page::Page {
        config,
        results: &results,
        curves: curves::read_all(&jobs)?,
        pictures: pictures::Pictures::draw(config, run),
    };
    let index = folder.join("index.html");
    save(&index, &page.html()?)?;
    Ok(index)
}

fn save(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
