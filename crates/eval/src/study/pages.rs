//! The page of a study, with looks at two of its networks, and the index of all studies beside it.

use super::args::StudyArgs;
use crate::look::{LookArgs, look};
use anyhow::{Context, Result};
use simclr_core::cli::{DeviceChoice, ProgressMode};
use simclr_core::disk;
use simclr_core::run::layout;
use simclr_report::look::Look;
use simclr_study::outcome::{Cell, Measure};
use simclr_study::statistics::mean;
use simclr_study::{Outcome, config_name, page};
use std::path::{Path, PathBuf};

/// Test images of a look.
const IMAGES: usize = 2000;

/// Writes the page of what a study came to, and the index of all that lie beside it. Gives the path of the page.
///
/// # Errors
/// When a network cannot be looked at, or a file cannot be written.
pub fn write(outcome: &Outcome, args: &StudyArgs) -> Result<PathBuf> {
    let looks = shown(outcome).into_iter().filter_map(|(cell, measure)| of(cell, measure, args).transpose());
    let looks: Vec<Look> = looks.collect::<Result<_>>()?;
    let beside = args.out.parent().unwrap_or(Path::new(""));
    let path = beside.join(page::file(outcome));
    disk::write(&path, page::html(outcome, &args.pool, &looks)?.as_bytes())?;
    disk::write(&beside.join(layout::PAGE), page::index(&all(beside)?)?.as_bytes())?;
    Ok(path)
}

/// The networks that are looked at: of the measure that the study names first, the first cell's and the best.
fn shown(outcome: &Outcome) -> Vec<(&Cell, &Measure)> {
    let mut known =
        outcome.cells.iter().filter_map(|cell| Some((cell, cell.measures.iter().find(|m| m.is_of_a_network())?)));
    let Some(first) = known.next() else { return Vec::new() };
    let best = known.max_by(|(_, a), (_, b)| mean(&a.top1).total_cmp(&mean(&b.top1)));
    std::iter::once(first).chain(best).collect()
}

/// A look at the network of the first seed, which is made once; nothing where the run is gone.
fn of(cell: &Cell, measure: &Measure, args: &StudyArgs) -> Result<Option<Look>> {
    let (Some(run), Some(seed)) = (measure.runs.first(), measure.seeds.first()) else { return Ok(None) };
    let (out, checkpoint) = (args.out.join(layout::LOOKS).join(run), args.pool.join(run));
    if let Some(known) = Look::read(&out)? {
        return Ok(Some(known));
    }
    if !checkpoint.join(layout::CHECKPOINT).is_dir() {
        return Ok(None);
    }
    let title = format!("{}, {} on {}, seed {seed}", cell.id, measure.method, measure.labels.words());
    look(&LookArgs {
        config: args.out.join(layout::CELLS).join(config_name(&cell.id, *seed)),
        set: Vec::new(),
        checkpoint,
        out: out.clone(),
        title: Some(title),
        count: IMAGES,
        device: DeviceChoice::Auto,
        threads: None,
        progress: ProgressMode::Off,
    })?;
    Look::read(&out)
}

/// What all studies of a folder came to, by name.
fn all(folder: &Path) -> Result<Vec<Outcome>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path().join(layout::RESULTS))).collect();
    files.retain(|file| file.is_file());
    files.sort();
    let read = |file: &PathBuf| {
        serde_json::from_value(disk::read_json(file)?)
            .with_context(|| format!("{} is not what a study came to; run that study again", file.display()))
    };
    files.iter().map(read).collect()
}
