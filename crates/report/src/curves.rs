//! Learning curves, from the `metrics.jsonl` of every stage.

use crate::plan::Job;
use anyhow::{Context, Result};
use serde_json::Value;
use simclr_core::disk;
use simclr_core::run::layout::METRICS;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Points of a curve that are drawn; more cannot be told apart.
const POINTS: usize = 120;

/// One stage's training; its label subsets are lines of one picture.
pub struct Curves {
    /// For people.
    pub title: String,
    /// What the pictures of loss and accuracy are called.
    pub names: [&'static str; 2],
    /// Training loss by step, a line a subset.
    pub loss: Vec<Vec<(f64, f64)>>,
    /// Test top-1 by step, a line a subset; may be empty.
    pub accuracy: Vec<Vec<(f64, f64)>>,
}

/// The curves of every job that has metrics, in the order of the plan.
///
/// # Errors
/// When a metrics file cannot be read.
pub fn read_all(jobs: &[Job]) -> Result<Vec<Curves>> {
    let mut all: Vec<Curves> = Vec::new();
    for job in jobs {
        let path = job.dir.join(METRICS);
        if !path.is_file() {
            continue;
        }
        let title = match &job.row {
            Some(row) => format!("{}, {}", row.method, row.labels.words()),
            None => job.title.clone(),
        };
        let (loss, accuracy) = read(&path)?;
        if loss.is_empty() && accuracy.is_empty() {
            continue;
        }
        let at = all.iter().position(|c| c.title == title).unwrap_or_else(|| {
            all.push(Curves { title, names: job.stage.curves, loss: vec![], accuracy: vec![] });
            all.len() - 1
        });
        all[at].loss.extend((!loss.is_empty()).then(|| thinned(&loss)));
        all[at].accuracy.extend((!accuracy.is_empty()).then_some(accuracy));
    }
    Ok(all)
}

type Points = Vec<(f64, f64)>;

/// Training loss and test accuracy by step. A line that was cut short when a run was stopped is left out, and of a step
/// that was trained twice, after a resume, the last counts.
fn read(path: &Path) -> Result<(Points, Points)> {
    let lines = BufReader::new(disk::open(path)?).lines();
    let (mut loss, mut accuracy) = (Points::new(), Points::new());
    for line in lines {
        let line = line.with_context(|| format!("reading {}", path.display()))?;
        let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
        let Some(step) = value.get("step").and_then(Value::as_f64) else { continue };
        for (key, points) in [("loss", &mut loss), ("test_top1", &mut accuracy)] {
            if let Some(y) = value.get(key).and_then(Value::as_f64) {
                while points.last().is_some_and(|&(x, _)| x >= step) {
                    points.pop();
                }
                points.push((step, y));
            }
        }
    }
    Ok((loss, accuracy))
}

/// Means of equally long stretches, so that a long curve stays readable.
fn thinned(points: &[(f64, f64)]) -> Points {
    let stretch = points.len().div_ceil(POINTS).max(1);
    let mean = |part: &[(f64, f64)]| {
        let n = part.len() as f64;
        (part.iter().map(|p| p.0).sum::<f64>() / n, part.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(stretch).map(mean).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_resumed_step_counts_once_and_a_torn_line_not() {
        let path = std::env::temp_dir().join(format!("simclr-curves-{}.jsonl", std::process::id()));
        let lines = "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}\n{\"step\":2,\"loss\":2.5}\n\
            {\"step\":2,\"test_top1\":0.4}\n{\"step\":3,\"lo";
        std::fs::write(&path, lines).unwrap();
        let (loss, accuracy) = read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(loss, [(1.0, 3.0), (2.0, 2.5)]);
        assert_eq!(accuracy, [(2.0, 0.4)]);
    }

    #[test]
    fn thinning_keeps_the_mean() {
        let line: Points = (0..960).map(|i| (i as f64, 2.0 * i as f64)).collect();
        let thin = thinned(&line);
        assert_eq!(thin.len(), POINTS);
        assert_eq!(thin[0], (3.5, 7.0));
    }
}
