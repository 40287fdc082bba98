//! Learning curves, from the `metrics.jsonl` of every stage.

use crate::plan::Job;
use anyhow::{Context, Result};
use serde::Deserialize;
use simclr_core::disk;
use simclr_core::run::layout::METRICS;
use simclr_core::train::health::{CHANCE, COSINE, Concern, Health, LOSS};
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
    /// What was wrong on the way.
    pub concerns: Vec<Concern>,
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
        let Course { loss, accuracy, concerns } = read(&path)?;
        if loss.is_empty() && accuracy.is_empty() {
            continue;
        }
        let at = all.iter().position(|c| c.title == title).unwrap_or_else(|| {
            all.push(Curves { title, names: job.stage.curves, loss: vec![], accuracy: vec![], concerns: vec![] });
            all.len() - 1
        });
        all[at].concerns.extend(concerns);
        all[at].loss.extend((!loss.is_empty()).then(|| thinned(&loss, POINTS)));
        all[at].accuracy.extend((!accuracy.is_empty()).then_some(accuracy));
    }
    Ok(all)
}

/// Values by step.
pub type Points = Vec<(f64, f64)>;

/// What is read of a line.
#[derive(Deserialize)]
struct Line {
    step: u64,
    loss: Option<f64>,
    test_top1: Option<f64>,
    chance_loss: Option<f64>,
    feature_cosine: Option<f64>,
}

/// What a file of metrics holds.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Training loss by step.
    pub loss: Points,
    /// Test top-1 by step; may be empty.
    pub accuracy: Points,
    /// What was wrong on the way.
    pub concerns: Vec<Concern>,
}

/// Training loss and test accuracy by step, and what the log warned of. A line that was cut short when a run was stopped is left
/// out, and of a step that was trained twice, after a resume, the last counts.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> Result<Course> {
    let reading = || format!("reading {}", path.display());
    let mut file = BufReader::new(disk::open(path).with_context(reading)?);
    let (mut course, mut health, mut text) = (Course::default(), Health::default(), Vec::new());
    loop {
        text.clear();
        if file.read_until(b'\n', &mut text).with_context(reading)? == 0 {
            return Ok(course);
        }
        let Ok(line) = serde_json::from_slice::<Line>(&text) else { continue };
        for (value, points) in [(line.loss, &mut course.loss), (line.test_top1, &mut course.accuracy)] {
            if let Some(y) = value {
                while points.last().is_some_and(|&(x, _)| x >= line.step as f64) {
                    points.pop();
                }
                points.push((line.step as f64, y));
            }
        }
        let figures = [(LOSS, line.loss), (CHANCE, line.chance_loss), (COSINE, line.feature_cosine)];
        let figures = figures.into_iter().filter_map(|(name, value)| Some((name, value?)));
        course.concerns.extend(health.saw(line.step, figures));
    }
}

/// Means of at most `most` equally long stretches, so that a long curve stays readable.
pub fn thinned(points: &[(f64, f64)], most: usize) -> Points {
    let stretch = points.len().div_ceil(most.max(1)).max(1);
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
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}\n{\"step\":2,\"loss\":2.5}\n\
            {\"step\":2,\"test_top1\":0.4}\n{\"step\":3,\"lo";
        std::fs::write(file.path(), lines).unwrap();
        let Course { loss, accuracy, concerns } = read(file.path()).unwrap();
        assert_eq!(loss, [(1.0, 3.0), (2.0, 2.5)]);
        assert_eq!(accuracy, [(2.0, 0.4)]);
        assert!(concerns.is_empty());
    }

    #[test]
    fn a_training_that_learned_nothing_is_told_of() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line =
            |step: u64| format!("{{\"step\":{step},\"loss\":5.0,\"chance_loss\":5.0,\"feature_cosine\":null}}\n");
        std::fs::write(file.path(), (1..=80).map(line).collect::<String>()).unwrap();
        let concerns = read(file.path()).unwrap().concerns;
        assert_eq!(concerns.len(), 1);
        assert!(concerns[0].steps == (1, 50) && concerns[0].text.contains("nothing is learned"), "{concerns:?}");
    }

    #[test]
    fn thinning_keeps_the_mean() {
        let line: Points = (0..960).map(|i| (i as f64, 2.0 * i as f64)).collect();
        let thin = thinned(&line, POINTS);
        assert_eq!(thin.len(), POINTS);
        assert_eq!(thin[0], (3.5, 7.0));
    }
}
