//! An experiment for people: the plan of its jobs, a look at its data, and the report of its results.
//!
//! The report is `report/results.json` for programs and `report/index.html`, one file that needs no network, for people.

#![forbid(unsafe_code)]

pub mod chart;
pub mod confusion;
pub mod curves;
pub mod html;
pub mod inspect;
pub mod look;
mod mistakes;
mod page;
mod pictures;
pub mod plan;
mod results;
pub mod review;
mod same;
mod shown;
pub mod statistics;
pub mod thumbnail;

pub use results::{ResultRow, Results};

use anyhow::{Context, Result};
use review::Review;
use simclr_core::config::Config;
use simclr_core::disk;
use simclr_core::run::layout;
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
    let folder = run.join(layout::REPORT);
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let json = serde_json::to_string_pretty(&results).context("writing the results")? + "\n";
    save(&folder.join(layout::RESULTS), &json)?;
    // The pictures may be gone since the run: the page then says so in their place.
    let data = simclr_data::load(&config.data);
    let page = page::Page {
        config,
        results: &results,
        curves: curves::read_all(&jobs)?,
        pictures: pictures::Pictures::draw(config, run, &data),
        review: Review::read(run)?.map_or_else(String::new, |review| shown::html(&review, &data))
            + &shown::found(&data),
    };
    let index = folder.join(layout::PAGE);
    save(&index, &page.html()?)?;
    Ok(index)
}

fn save(path: &Path, text: &str) -> Result<()> {
    disk::write(path, text.as_bytes())
}
