//! A file of results from folders of finished runs.

use super::measured::{Made, Measured, Row, Top1};
use super::{FOLDER, File, Kind};
use crate::Outcome;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use simclr_core::config::LabelAmount;
use simclr_core::disk;
use simclr_core::run::NUMERICS;
use simclr_core::run::layout::{MANIFEST, PIXELS, REPORT, RESULT, RESULTS};
use simclr_core::stages::{Method, STAGES};
use std::path::{Path, PathBuf};

/// How deep below an experiment its runs lie: `labels-0.1/subset-0/finetuned`.
const DEPTH: usize = 4;

/// What a file says of where its runs were computed.
#[derive(Clone, Debug)]
pub struct Where {
    /// The commit of the code.
    pub commit: String,
    /// Processor or GPU, and cores.
    pub hardware: String,
    /// The day.
    pub date: String,
}

/// A report's `results.json`, as far as it is needed.
#[derive(Deserialize)]
struct Report {
    config: String,
    seed: u64,
    seconds: f64,
    missing: Vec<String>,
    rows: Vec<ReportRow>,
}

#[derive(Deserialize)]
struct ReportRow {
    name: String,
    labels: LabelAmount,
    params: u64,
    top1_each: Vec<f64>,
}

/// What `simclr-eval propagate` leaves, as far as it is needed.
#[derive(Deserialize)]
struct Propagated {
    labels: LabelAmount,
    subset: usize,
    features: String,
    top1: f64,
    numerics: Option<u32>,
}

/// Writes `results/NAME.json` from the folders of finished runs of one experiment, or of one study, whose files are called after it.
/// What people have written in an earlier file of the same name (its sentence, its titles) stays. Gives the file, and what it holds.
///
/// # Errors
/// When a run has not finished or is of other numbers than the code's, and when runs are of several experiments, or one of them twice.
pub fn add(
    root: &Path,
    name: Option<&str>,
    runs: &[PathBuf],
    propagated: Option<&Path>,
    place: &Where,
) -> Result<(PathBuf, String)> {
    ensure!(!runs.is_empty(), "name the folders of finished runs, such as runs/quickstart");
    if let [study] = runs
        && study.join(RESULTS).is_file()
    {
        ensure!(propagated.is_none(), "--propagated: {} is a study, which has no such row", study.display());
        return add_study(root, name, study);
    }
    let mut reports: Vec<Report> = Vec::new();
    for run in runs {
        let path = run.join(REPORT).join(RESULTS);
        ensure!(
            path.is_file(),
            "{}: no report is there; a run that `cargo xtask reproduce` has finished has {}",
            run.display(),
            path.display()
        );
        let report: Report = serde_json::from_value(disk::read_json(&path)?)
            .with_context(|| format!("{}: not the results of an experiment", path.display()))?;
        ensure!(
            report.missing.is_empty(),
            "{}: has not finished: {} is missing; the same `cargo xtask reproduce` goes on with it",
            run.display(),
            report.missing.join(", ")
        );
        of_this_code(run)?;
        if let Some(first) = reports.first() {
            ensure!(
                report.config == first.config,
                "{}: is of the experiment {}, {} of {}: one file holds one experiment",
                run.display(),
                report.config,
                runs[0].display(),
                first.config
            );
        }
        let twice = reports.iter().position(|other| other.seed == report.seed);
        if let Some(other) = twice {
            bail!("{} and {}: both are of seed {}", runs[other].display(), run.display(), report.seed)
        }
        reports.push(report);
    }
    let name = name.unwrap_or(&reports[0].config).to_string();
    let path = place_of(root, &name)?;
    let earlier = match path.is_file().then(|| File::read(&path)).transpose()?.map(|file| file.kind) {
        Some(Kind::Measured(measured)) => Some(measured),
        Some(Kind::Study(_)) => bail!("{}: holds a study: choose another --name", path.display()),
        None => None,
    };
    let mut measured = join(root, &reports, earlier.as_deref(), place)?;
    // What needs no network comes before what does.
    if let Some(folder) = propagated {
        measured.rows.splice(0..0, baselines(folder)?);
    }
    measured.check()?;
    disk::write_json(&path, &serde_json::to_value(&measured).context("writing the results")?)?;
    Ok((path, format!("{} of each, over {}", measured.counted(), measured.over)))
}

/// The file called `name`.
fn place_of(root: &Path, name: &str) -> Result<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        !name.is_empty() && !name.starts_with('.') && name.chars().all(plain),
        "--name \"{name}\": a file's name of letters, digits and -, _, ."
    );
    let folder = root.join(FOLDER);
    std::fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder.join(format!("{name}.json")))
}

fn add_study(root: &Path, name: Option<&str>, folder: &Path) -> Result<(PathBuf, String)> {
    let from = folder.join(RESULTS);
    let json = disk::read_json(&from)?;
    let outcome: Outcome = serde_json::from_value(json.clone())
        .with_context(|| format!("{}: not the results of a study", from.display()))?;
    ensure!(
        outcome.missing.is_empty(),
        "{}: {} of its runs have not finished, the first is {}; the same `cargo xtask reproduce` goes on with them",
        folder.display(),
        outcome.missing.len(),
        outcome.missing[0]
    );
    ensure!(
        outcome.made.numerics == NUMERICS,
        "{}: is of numerics {}, the code is at {NUMERICS}",
        folder.display(),
        outcome.made.numerics
    );
    let own = format!("{}-{}", outcome.study, outcome.scale);
    ensure!(name.is_none_or(|name| name == own), "--name: the file of a study is called after it, {own}");
    let path = place_of(root, &own)?;
    disk::write_json(&path, &json)?;
    Ok((path, format!("{} cells, {} claims", outcome.cells.len(), outcome.claims.len())))
}

/// The folders in a folder.
fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect())
}

/// Holds every manifest below a run against the code's revision of numbers.
fn of_this_code(run: &Path) -> Result<()> {
    let mut found = 0;
    let mut folders = vec![(run.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let manifest = folder.join(MANIFEST);
        if manifest.is_file() {
            let numerics = disk::read_json(&manifest)?["numerics"].as_u64();
            ensure!(
                numerics == Some(NUMERICS.into()),
                "{}: is of numerics {}, the code is at {NUMERICS}: run it again",
                folder.display(),
                numerics.map_or_else(|| "unknown".into(), |n| n.to_string())
            );
            found += 1;
        } else if depth < DEPTH {
            folders.extend(below(&folder)?.into_iter().map(|path| (path, depth + 1)));
        }
    }
    ensure!(found > 0, "{}: no run of a stage lies there", run.display());
    Ok(())
}

/// The rows of what `simclr-eval propagate` left in a folder: one for each amount of labels, its subsets in their order.
fn baselines(folder: &Path) -> Result<Vec<Row>> {
    let mut all: Vec<Propagated> = Vec::new();
    let amounts = below(folder)?;
    let subsets: Vec<PathBuf> = amounts.iter().map(|amount| below(amount)).collect::<Result<Vec<_>>>()?.concat();
    for path in subsets.iter().map(|subset| subset.join(RESULT)).filter(|path| path.is_file()) {
        let one: Propagated = serde_json::from_value(disk::read_json(&path)?)
            .with_context(|| format!("{}: not what `simclr-eval propagate` leaves", path.display()))?;
        ensure!(
            one.features == PIXELS,
            "{}: is of {}; only a baseline without a network stands beside those that are trained",
            path.display(),
            one.features
        );
        ensure!(
            one.numerics == Some(NUMERICS),
            "{}: is of another revision of numbers than the code's {NUMERICS}: run it again",
            path.display()
        );
        all.push(one);
    }
    ensure!(!all.is_empty(), "{}: no labels-AMOUNT/subset-INDEX/{RESULT} is there", folder.display());
    all.sort_by(|a, b| a.labels.order(&b.labels).then(a.subset.cmp(&b.subset)));
    let mut rows: Vec<Row> = Vec::new();
    for one in all {
        match rows.last_mut().filter(|row| row.labels == one.labels).map(|row| &mut row.top1) {
            Some(Top1::Each { top1_each }) => top1_each.push(one.top1),
            _ => rows.push(Row {
                method: "propagated".into(),
                title: "Labels spread over nearest pixels".into(),
                labels: one.labels,
                params: None,
                top1: Top1::Each { top1_each: vec![one.top1] },
            }),
        }
    }
    Ok(rows)
}

/// One file of several reports of the same experiment.
fn join(root: &Path, reports: &[Report], earlier: Option<&Measured>, place: &Where) -> Result<Measured> {
    let experiment = reports[0].config.clone();
    let config = format!("configs/{experiment}.toml");
    let config = if root.join(&config).is_file() { config } else { experiment.clone() };
    let mut rows: Vec<Row> = Vec::new();
    for (i, report) in reports.iter().enumerate() {
        for row in &report.rows {
            let at = rows.iter().position(|r| r.method == row.name && r.labels == row.labels);
            match at.map(|at| &mut rows[at].top1) {
                Some(Top1::Each { top1_each }) => top1_each.extend(&row.top1_each),
                _ => {
                    ensure!(i == 0, "{} with {} is not in all runs", row.name, row.labels.words());
                    rows.push(Row {
                        method: row.name.clone(),
                        title: title(&row.name, earlier),
                        labels: row.labels,
                        params: Some(row.params),
                        top1: Top1::Each { top1_each: row.top1_each.clone() },
                    });
                }
            }
        }
        ensure!(
            report.rows.len() == rows.len(),
            "the runs have different rows: {} and {}",
            report.rows.len(),
            rows.len()
        );
    }
    let subsets = reports[0].rows.iter().map(|row| row.top1_each.len()).max().unwrap_or(1);
    let seeds: Vec<String> = reports.iter().map(|report| report.seed.to_string()).collect();
    let over = match (reports.len(), subsets) {
        (1, 1) => format!("seed {}", seeds[0]),
        (1, subsets) => format!("{subsets} subsets of labels of one pretraining (seed {})", seeds[0]),
        (_, 1) => format!("seeds {}", seeds.join(", ")),
        (_, subsets) => format!("{subsets} subsets of labels of each of seeds {}", seeds.join(", ")),
    };
    let seconds = reports.iter().map(|report| report.seconds).sum::<f64>() / reports.len() as f64;
    let Where { commit, hardware, date } = place.clone();
    Ok(Measured {
        config,
        about: earlier.map_or_else(|| experiment.clone(), |earlier| earlier.about.clone()),
        over,
        images_a_class: earlier.and_then(|earlier| earlier.images_a_class),
        made: Made { commit, numerics: NUMERICS, hardware, date, seconds },
        notes: Vec::new(),
        rows,
        experiment,
    })
}

/// What a row is called: as it was, or as in a report.
fn title(method: &str, earlier: Option<&Measured>) -> String {
    if let Some(row) = earlier.and_then(|earlier| earlier.rows.iter().find(|row| row.method == method)) {
        return row.title.clone();
    }
    let rows = STAGES.iter().flat_map(|stage| stage.rows.iter().map(move |row| (stage, row)));
    let mut named = rows.filter_map(|(stage, row)| {
        let student =
            if method == row.name { None } else { Some(method.strip_prefix(row.name)?.strip_prefix('-')?.to_string()) };
        Some(Method { stage, row, student }.title())
    });
    named.next().unwrap_or_else(|| method.into())
}
