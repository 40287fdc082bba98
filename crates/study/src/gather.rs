//! From the runs of a study to what it came to.

use crate::file::{ClaimText, Term};
use crate::grid::{self, Cell};
use crate::outcome::{Axis, Cell as Measured, Claim, Made, Measure, Outcome};
use crate::plan::{Plan, Trial, is_finished};
use crate::statistics::{interval, mean, verdict};
use anyhow::{Context, Result};
use simclr_core::config::{Config, LabelAmount};
use simclr_core::disk;
use simclr_core::run::layout::RESULT;
use simclr_report::plan::Job;
use simclr_report::{ResultRow, Results};
use std::collections::BTreeSet;

/// Gathers what has finished; what has not is named in the outcome. `base` is the base experiment as its file has it.
///
/// # Errors
/// When a result cannot be read.
pub fn gather(plan: &Plan, base: &Config, made: Made) -> Result<Outcome> {
    let study = &plan.study;
    let mut missing = BTreeSet::new();
    let mut cells: Vec<Measured> = Vec::new();
    for (number, cell) in plan.cells.iter().enumerate() {
        let trials = plan.trials.iter().filter(|trial| trial.cell == number);
        let mut measures: Vec<Measure> = Vec::new();
        let mut differs = Vec::new();
        for trial in trials {
            differs = grid::differences(base, &trial.config)?;
            missing.extend(trial.jobs.iter().filter(|job| !is_finished(job)).map(|job| job.id.clone()));
            for (row, run) in
                rows(trial)?.into_iter().filter(|(row, _)| study.measure.contains(&row.method.to_string()))
            {
                add(&mut measures, &row, trial.seed, &run);
            }
        }
        for measure in &mut measures {
            measure.seconds /= measure.seeds.len() as f64;
        }
        cells.push(Measured { id: cell.id.clone(), values: cell.values.clone(), differs, measures });
    }
    let claims = study.claims.iter().map(|claim| judge(claim, &plan.cells, &cells)).collect::<Result<_>>()?;
    let axis = |axis: &crate::file::Axis| Axis {
        name: axis.name.clone(),
        title: axis.title.clone(),
        values: axis.values.iter().map(|value| value.name.clone()).collect(),
    };
    Ok(Outcome {
        study: study.name.clone(),
        scale: study.scale.clone(),
        title: study.title.clone(),
        question: study.question.clone(),
        base: study.base_name.clone(),
        dataset: base.data.dataset.clone(),
        axes: study.axes.iter().map(axis).collect(),
        made: Made { runs: runs(plan).count(), seconds: seconds(plan)?, ..made },
        cells,
        claims,
        published: study.published.clone(),
        missing: missing.into_iter().collect(),
    })
}

/// The runs, each once.
fn runs(plan: &Plan) -> impl Iterator<Item = &Job> {
    let mut seen = BTreeSet::new();
    plan.trials.iter().flat_map(|trial| &trial.jobs).filter(move |job| seen.insert(job.id.clone()))
}

/// The wall time of all finished runs together.
fn seconds(plan: &Plan) -> Result<f64> {
    let finished = runs(plan).filter(|job| is_finished(job));
    finished.map(|job| Ok(disk::read_json(&job.dir.join(RESULT))?["seconds"].as_f64().unwrap_or(0.0))).sum()
}

/// What a trial measured, with the folder of the run that did.
fn rows(trial: &Trial) -> Result<Vec<(ResultRow, String)>> {
    let mut all = Vec::new();
    for job in trial.jobs.iter().filter(|job| is_finished(job)) {
        let results = Results::gather(&trial.config, std::slice::from_ref(job), &job.dir)?;
        all.extend(results.rows.into_iter().map(|row| (row, job.id.clone())));
    }
    Ok(all)
}

/// Adds what one run measured; `seconds` is a sum until all are there.
fn add(measures: &mut Vec<Measure>, row: &ResultRow, seed: u64, run: &str) {
    let method = row.method.to_string();
    let at = measures.iter().position(|m| m.method == method && m.labels == row.labels).unwrap_or_else(|| {
        let (labels, params) = (row.labels, row.params);
        let (seeds, top1, runs) = (Vec::new(), Vec::new(), Vec::new());
        measures.push(Measure { method, labels, seeds, top1, params, seconds: 0.0, runs });
        measures.len() - 1
    });
    let measure = &mut measures[at];
    measure.seeds.push(seed);
    measure.top1.push(row.top1);
    measure.runs.push(run.into());
    measure.seconds += row.seconds;
}

/// A claim over the seeds that all of its terms have.
fn judge(claim: &ClaimText, cells: &[Cell], measured: &[Measured]) -> Result<Claim> {
    let find = |term: &Term| {
        let fits = |cell: &&Cell| term.cell.iter().all(|(axis, value)| cell.values.get(axis) == Some(value));
        let found: Vec<&Cell> = cells.iter().filter(fits).collect();
        let [cell] = found.as_slice() else { return Ok(None) };
        let cell = measured.iter().find(|m| m.id == cell.id).context("a cell that was not gathered")?;
        Ok::<_, anyhow::Error>(measure(cell, &term.method, term.labels))
    };
    let terms = |terms: &[Term]| terms.iter().map(find).collect::<Result<Option<Vec<&Measure>>>>();
    let differences = match (terms(&claim.plus)?, terms(&claim.minus)?) {
        (Some(plus), Some(minus)) => paired(&plus, &minus),
        _ => Vec::new(),
    };
    let interval = interval(&differences);
    Ok(Claim {
        text: claim.text.clone(),
        difference: claim.difference.clone(),
        mean: if differences.is_empty() { 0.0 } else { mean(&differences) },
        interval: interval.unwrap_or([0.0; 2]),
        n: differences.len(),
        verdict: verdict(interval),
        published: claim.published,
    })
}

fn measure<'a>(cell: &'a Measured, method: &str, labels: LabelAmount) -> Option<&'a Measure> {
    cell.measures.iter().find(|m| m.method == method && m.labels == labels)
}

/// For each seed that all have, the sum of `plus` less that of `minus`, in points.
fn paired(plus: &[&Measure], minus: &[&Measure]) -> Vec<f64> {
    let of = |m: &Measure, seed: u64| m.seeds.iter().position(|s| *s == seed).map(|at| 100.0 * m.top1[at]);
    let sum = |all: &[&Measure], seed: u64| all.iter().map(|m| of(m, seed)).sum::<Option<f64>>();
    let seeds = plus.first().or(minus.first()).map_or(&[][..], |m| &m.seeds);
    seeds.iter().filter_map(|&seed| Some(sum(plus, seed)? - sum(minus, seed)?)).collect()
}
