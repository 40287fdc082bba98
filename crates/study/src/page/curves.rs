//! Learning curves of a study's runs and of the runs that these began from, read where the runs are still there.

use super::grid;
use crate::outcome::{Axis, Cell, Outcome};
use anyhow::{Context, Result};
use serde::Deserialize;
use simclr_core::disk;
use simclr_core::run::layout::{CHECKPOINT, MANIFEST, METRICS, MODEL, RESULT};
use simclr_core::stages::{self, STAGES, Stage};
use simclr_report::chart::{Chart, Points, Scale, Series};
use simclr_report::curves::{Course, read, thinned};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Points of a line.
const POINTS: usize = 60;
/// Folders between the pool and a run, at most.
const DEPTH: usize = 4;
/// Most lines of a plot, seeds apart; more cannot be told apart.
const LINES: usize = 16;

/// Runs of one kind, which share two plots.
struct Kind {
    title: String,
    /// What its plots of loss and of accuracy are called.
    names: [&'static str; 2],
    /// Each run with the cells, and the amounts of labels, that it serves.
    runs: Vec<(PathBuf, BTreeSet<usize>, BTreeSet<String>)>,
}

/// The plots, or that there is nothing to read.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn html(outcome: &Outcome, pool: &Path) -> Result<String> {
    let kinds = kinds(outcome, pool)?;
    let axes = grid::varied(outcome);
    let mut out = String::new();
    for kind in &kinds {
        out += &plots(outcome, pool, kind, &axes)?;
    }
    if out.is_empty() {
        return Ok("<p class=\"note\">Not drawn: the runs are not on the machine that made this page.</p>\n".into());
    }
    Ok(format!(
        "<p>A line for each seed. Training loss is the mean over stretches of steps.</p>\n<div class=\"charts\">\n{out}</div>\n"
    ))
}

/// The kinds of runs, in the order in which they are trained.
fn kinds(outcome: &Outcome, pool: &Path) -> Result<Vec<Kind>> {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut add = |title: &str, names: [&'static str; 2], run: &Path, (cell, labels): (usize, &str)| {
        let at = kinds.iter().position(|kind| kind.title == title).unwrap_or_else(|| {
            kinds.push(Kind { title: title.into(), names, runs: Vec::new() });
            kinds.len() - 1
        });
        let runs = &mut kinds[at].runs;
        let at = runs.iter().position(|(other, ..)| other == run).unwrap_or_else(|| {
            runs.push((run.into(), BTreeSet::new(), BTreeSet::new()));
            runs.len() - 1
        });
        runs[at].1.insert(cell);
        runs[at].2.insert(labels.into());
    };
    let makers = makers(pool)?;
    for (number, cell) in outcome.cells.iter().enumerate() {
        for measure in &cell.measures {
            let (stage, title) = stage_of(&measure.method);
            // Of a single cell the lines of a plot are amounts of labels.
            let (plot, labels) = match (outcome.cells.len(), stage.measured()) {
                (_, Some(_)) => (title, ""),
                (1, None) => (title, &*measure.labels.words()),
                (_, None) => (format!("{title}, {}", measure.labels.words()), ""),
            };
            for run in &measure.runs {
                for maker in before(pool, Path::new(run), &makers)? {
                    let stage = stage_in(&pool.join(&maker))?;
                    // What a method of its own measures is drawn there.
                    if stage.own_row().is_none() {
                        add(&capital(stage.title), stage.curves, &maker, (number, ""));
                    }
                }
                add(&plot, stage.curves, Path::new(run), (number, labels));
            }
        }
    }
    kinds.sort_by_key(|kind| kind.names != stages::named(stages::PRETRAIN).map_or(kind.names, |stage| stage.curves));
    Ok(kinds)
}

/// The stage that measures a method, and what its runs are called.
fn stage_of(method: &str) -> (&'static Stage, String) {
    for stage in STAGES {
        for row in stage.rows {
            if method.strip_prefix(row.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
                // An evaluation measures several things in one run.
                let title = if stage.measured().is_some() { capital(stage.title) } else { grid::title(method) };
                return (stage, title);
            }
        }
    }
    (&STAGES[0], method.into())
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[derive(Deserialize)]
struct Manifest {
    stage: String,
    #[serde(default)]
    inputs: BTreeMap<String, String>,
}

fn manifest(run: &Path) -> Result<Option<Manifest>> {
    let path = run.join(MANIFEST);
    if !path.is_file() {
        return Ok(None);
    }
    let found = serde_json::from_value(disk::read_json(&path)?);
    found.map(Some).with_context(|| format!("{} is no manifest of a run", path.display()))
}

fn stage_in(run: &Path) -> Result<&'static Stage> {
    let name = manifest(run)?.map_or_else(String::new, |manifest| manifest.stage);
    stages::named(&name).with_context(|| format!("{}: there is no stage {name:?}", run.join(MANIFEST).display()))
}

/// The runs that a run began from, the first of the chain first: their checkpoints are its inputs.
fn before(pool: &Path, run: &Path, makers: &BTreeMap<String, PathBuf>) -> Result<Vec<PathBuf>> {
    let mut chain: Vec<PathBuf> = Vec::new();
    let mut open = vec![run.to_path_buf()];
    while let Some(run) = open.pop() {
        let Some(manifest) = manifest(&pool.join(run))? else { continue };
        for maker in manifest.inputs.values().filter_map(|hash| makers.get(hash)) {
            if !chain.contains(maker) {
                chain.push(maker.clone());
                open.push(maker.clone());
            }
        }
    }
    chain.reverse();
    Ok(chain)
}

/// The run below `pool` that made each checkpoint, by the checkpoint's SHA-256.
fn makers(pool: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![(PathBuf::new(), 0)]);
    let weights = format!("{CHECKPOINT}/{MODEL}");
    while let Some((below, depth)) = open.pop() {
        let dir = pool.join(&below);
        let result = dir.join(RESULT);
        if result.is_file() {
            let result = disk::read_json(&result)?;
            if let Some(hash) = result["files"][&weights].as_str() {
                found.insert(hash.to_string(), below);
            }
            continue;
        }
        if depth < DEPTH && dir.is_dir() {
            let listing = || format!("listing {}", dir.display());
            for entry in std::fs::read_dir(&dir).with_context(listing)? {
                let entry = entry.with_context(listing)?;
                if entry.file_type().with_context(listing)?.is_dir() {
                    open.push((below.join(entry.file_name()), depth + 1));
                }
            }
        }
    }
    Ok(found)
}

/// The two plots of one kind; empty where nothing is there.
fn plots(outcome: &Outcome, pool: &Path, kind: &Kind, axes: &[&Axis]) -> Result<String> {
    let (mut loss, mut accuracy): (Vec<Series>, Vec<Series>) = (Vec::new(), Vec::new());
    let mut names: Vec<String> = Vec::new();
    for (run, cells, labels) in &kind.runs {
        let path = pool.join(run).join(METRICS);
        if !path.is_file() {
            continue;
        }
        let Course { loss: losses, accuracy: accuracies, .. } = read(&path)?;
        let name = line_name(outcome, cells, labels, axes);
        if !names.contains(&name) {
            names.push(name.clone());
        }
        if names.len() > LINES {
            continue;
        }
        for (points, series) in [(thinned(&losses, POINTS), &mut loss), (thinned(&accuracies, POINTS), &mut accuracy)] {
            if points.len() > 1 {
                series.push(Series { name: name.clone(), points, deviations: vec![], shown: Points::Bare });
            }
        }
    }
    let mut out = String::new();
    for (name, y, series) in [(kind.names[0], Scale::Linear, loss), (kind.names[1], Scale::Percent, accuracy)] {
        if !series.is_empty() {
            let title = format!("{}: {name}", kind.title);
            out += &Chart { title: &title, x_label: "step", x: Scale::Linear, y, series }.html();
        }
    }
    Ok(out)
}

/// What the cells of a run have in common.
fn line_name(outcome: &Outcome, cells: &BTreeSet<usize>, labels: &BTreeSet<String>, axes: &[&Axis]) -> String {
    let words: Vec<&str> = labels.iter().map(String::as_str).filter(|words| !words.is_empty()).collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    let of: Vec<&Cell> = cells.iter().filter_map(|i| outcome.cells.get(*i)).collect();
    let Some(first) = of.first() else { return String::new() };
    let common: Vec<&Axis> = axes
        .iter()
        .filter(|axis| of.iter().all(|cell| cell.values.get(&axis.name) == first.values.get(&axis.name)))
        .copied()
        .collect();
    match (cells.len() == outcome.cells.len(), common.is_empty()) {
        (true, _) => "all cells".into(),
        (false, true) => of.iter().map(|cell| grid::name(cell, axes)).collect::<Vec<_>>().join("; "),
        (false, false) => grid::name(first, &common),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::outcome::Measure;
    use crate::testing::outcome;
    use serde_json::json;
    use simclr_core::config::LabelAmount;

    /// A run with its manifest, metrics and result.
    fn run(pool: &Path, name: &str, stage: &str, from: &[&str]) {
        let dir = pool.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let inputs: BTreeMap<String, String> =
            from.iter().enumerate().map(|(i, from)| (format!("input-{i}"), format!("hash of {from}"))).collect();
        disk::write_json(&dir.join(MANIFEST), &json!({"stage": stage, "inputs": inputs})).unwrap();
        let files = json!({format!("{CHECKPOINT}/{MODEL}"): format!("hash of {name}")});
        disk::write_json(&dir.join(RESULT), &json!({"files": files})).unwrap();
        let line =
            |step: usize| format!("{{\"step\":{step},\"loss\":{}}}\n{{\"step\":{step},\"test_top1\":0.5}}\n", 9 - step);
        std::fs::write(dir.join(METRICS), (1..5).map(line).collect::<String>()).unwrap();
    }

    #[test]
    fn runs_and_those_before_them_are_drawn_each_once() {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), "ab/p", "pretrain", &[]);
        run(dir.path(), "ab/teacher", "finetune", &["ab/p"]);
        let mut study = outcome("distill-student");
        study.cells.truncate(2);
        for (i, cell) in study.cells.iter_mut().enumerate() {
            let own = format!("cd/{i}");
            run(dir.path(), &own, "distill", &["ab/teacher"]);
            let measure = |method: &str, run: &str| Measure {
                method: method.into(),
                labels: LabelAmount::Share(0.1),
                seeds: vec![0],
                top1: vec![0.5],
                params: 1,
                seconds: 1.0,
                runs: vec![run.into()],
            };
            cell.measures = vec![measure("finetuned", "ab/teacher"), measure("distilled-s", &own)];
        }
        let kinds = kinds(&study, dir.path()).unwrap();
        let shown: Vec<(&str, usize)> = kinds.iter().map(|kind| (kind.title.as_str(), kind.runs.len())).collect();
        let fine = "Pretrained, fine-tuned, 10 % of the labels";
        assert_eq!(shown, [("Pretraining", 1), (fine, 1), ("Distilled: s, 10 % of the labels", 2)]);
        let page = html(&study, dir.path()).unwrap();
        assert!(page.contains("Pretraining: contrastive loss"), "{page}");
        assert!(page.matches("<figure>").count() == 6 && page.matches("class=\"line thin\"").count() == 8);
        assert!(html(&study, &dir.path().join("gone")).unwrap().contains("not on the machine"));
    }
}
