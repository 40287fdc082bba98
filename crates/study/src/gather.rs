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
        let (mut differs, mut cost) = (Vec::new(), 0.0);
        for trial in trials {
            cost = trial.jobs.iter().map(|job| job.cost).sum();
            differs = grid::differences(base, &trial.config)?;
            missing.extend(trial.jobs.iter().filter(|job| !is_finished(job)).map(|job| job.id.clone()));
            for (row, run) in rows(trial)?.into_iter().filter(|(row, _)| cell.measure.contains(&row.method.to_string()))
            {
                add(&mut measures, &row, trial.seed, &run);
            }
        }
        for measure in &mut measures {
            measure.seconds /= measure.seeds.len() as f64;
        }
        cells.push(Measured { id: cell.id.clone(), values: cell.values.clone(), differs, cost, measures });
    }
    let first = cells.first().map_or(1.0, |cell| cell.cost);
    // As many digits as a reader of the file may want.
    cells.iter_mut().for_each(|cell| cell.cost = (1e4 * cell.cost / first).round() / 1e4);
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
        made: finished(plan, made)?,
        cells,
        claims,
        conclusions: Vec::new(),
        published: study.published.clone(),
        missing: missing.into_iter().collect(),
    })
}

/// The runs, each once.
fn runs(plan: &Plan) -> impl Iterator<Item = &Job> {
    let mut seen = BTreeSet::new();
    plan.trials.iter().flat_map(|trial| &trial.jobs).filter(move |job| seen.insert(job.id.clone()))
}

/// What is known of the finished runs together: their wall time, and what computed.
fn finished(plan: &Plan, made: Made) -> Result<Made> {
    let (mut seconds, mut units) = (0.0, BTreeSet::new());
    for job in runs(plan).filter(|job| is_finished(job)) {
        let result = disk::read_json(&job.dir.join(RESULT))?;
        seconds += result["seconds"].as_f64().unwrap_or(0.0);
        units.extend(result["simd"].as_str().map(String::from));
    }
    let simd = units.into_iter().collect::<Vec<_>>().join(", ");
    Ok(Made { runs: runs(plan).count(), seconds, simd, ..made })
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

/// What a method reached on an amount of labels in a cell.
pub fn measure<'a>(cell: &'a Measured, method: &str, labels: LabelAmount) -> Option<&'a Measure> {
    cell.measures.iter().find(|m| m.method == method && m.labels == labels)
}

/// For each seed that all have, the sum of `plus` less that of `minus`, in points.
pub fn paired(plus: &[&Measure], minus: &[&Measure]) -> Vec<f64> {
    let of = |m: &Measure, seed: u64| m.seeds.iter().position(|s| *s == seed).map(|at| 100.0 * m.top1[at]);
    let sum = |all: &[&Measure], seed: u64| all.iter().map(|m| of(m, seed)).sum::<Option<f64>>();
    let seeds = plus.first().or(minus.first()).map_or(&[][..], |m| &m.seeds);
    seeds.iter().filter_map(|&seed| Some(sum(plus, seed)? - sum(minus, seed)?)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Choice;
    use crate::file_tests::study;
    use crate::outcome::Verdict;
    use serde_json::json;
    use std::path::Path;

    fn made() -> Made {
        let text = String::new;
        let (commit, hardware, simd, date) = (text(), text(), text(), text());
        Made { commit, numerics: 0, hardware, simd, date, seconds: 0.0, runs: 0, at_once: 1 }
    }

    /// Writes a result for every job whose cell and seed `top1` knows.
    fn pretend(plan: &Plan, top1: impl Fn(&str, u64) -> Option<f64>) {
        for trial in &plan.trials {
            let Some(top1) = top1(&plan.cells[trial.cell].id, trial.seed) else { continue };
            for job in &trial.jobs {
                let accuracy = json!({"top1": top1, "top5": 1.0});
                let mut result =
                    json!({"seconds": 2.0, "params": 10, "device": "cpu", "linear": accuracy, "knn": accuracy});
                if job.row.is_some() {
                    result["top1"] = json!(top1);
                    result["top5"] = json!(1.0);
                }
                std::fs::create_dir_all(&job.dir).unwrap();
                std::fs::write(job.dir.join(RESULT), result.to_string()).unwrap();
            }
        }
    }

    fn outcome(pool: &Path, top1: impl Fn(&str, u64) -> Option<f64>) -> Outcome {
        let plan = Plan::new(study(), &Choice::default(), pool).unwrap();
        pretend(&plan, top1);
        let base = Config::load(&plan.study.base, &[]).unwrap();
        gather(&plan, &base, made()).unwrap()
    }

    #[test]
    fn a_claim_is_the_difference_of_pairs() {
        let pool = tempfile::tempdir().unwrap();
        let seeds = |id: &str, seed: u64| {
            let noise = seed as f64 * 0.1;
            Some(if id == "2-low" { 0.5 + noise } else { 0.6 + noise + 0.01 * seed as f64 })
        };
        let outcome = outcome(pool.path(), seeds);
        let claim = &outcome.claims[0];
        // 10 points with the first seed, 11 with the second: noise that both share is gone.
        assert!((claim.mean - 10.5).abs() < 1e-9 && claim.n == 2, "{claim:?}");
        assert_eq!(claim.verdict, Verdict::Confirmed);
        assert!(outcome.missing.is_empty());
        let cell = &outcome.cells[0];
        let methods: Vec<_> = cell.measures.iter().map(|m| (m.method.as_str(), m.top1.len(), m.params)).collect();
        assert_eq!(methods, [("linear-eval", 2, 10), ("finetuned", 2, 10)]);
        assert_eq!(outcome.cells[1].measures.len(), 1, "a high temperature is not fine-tuned");
        // Three cells of two seeds: pretraining and probe of each, and four that are fine-tuned.
        assert_eq!((outcome.made.runs, outcome.made.seconds), (16, 32.0));
    }

    #[test]
    fn what_has_not_finished_is_named() {
        let pool = tempfile::tempdir().unwrap();
        let outcome = outcome(pool.path(), |id, seed| (id != "2-low" || seed == 0).then_some(0.5));
        assert_eq!((outcome.claims[0].verdict, outcome.claims[0].n), (Verdict::Open, 1));
        assert_eq!(outcome.missing.len(), 3, "{:?}", outcome.missing);
        let json = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap(), outcome);
    }
}
