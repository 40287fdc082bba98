//! What a review of an experiment found, as it is handed from the program that computes to the page that shows.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use simclr_core::run::layout;
use simclr_core::{bounds, disk};
use std::path::Path;

/// The split that a picture is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What may be learned from.
    Train,
    /// What is measured on.
    Test,
}

/// A picture of the dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Of which split.
    pub split: Split,
    /// Its index there.
    pub index: u32,
    /// What it is called in tables: its path below `data.dir`.
    pub file: String,
}

/// What the network makes of a picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guess {
    /// The picture.
    #[serde(flatten)]
    pub shown: Shown,
    /// The likeliest classes, each with its calibrated probability.
    pub best: Vec<(u32, f32)>,
}

/// Pictures of one predicted class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drawer {
    /// The class.
    pub class: u32,
    /// How many pictures without a label are predicted to be of it.
    pub count: usize,
    /// Some of them, the surest first.
    pub shown: Vec<Guess>,
}

/// How probabilities compare with how often they are right; see the program's calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// What logits are divided by.
    pub temperature: f64,
    /// Held-out pictures that it was fitted on.
    pub examples: usize,
    /// Expected calibration error, before and after.
    pub ece: [f64; 2],
    /// (pictures, mean probability, share that is right) of bins of equal width, after.
    pub bins: Vec<(usize, f64, f64)>,
}

/// What was seen on the held-out pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// How many.
    pub pictures: usize,
    /// The likeliest class is right.
    pub top1: f64,
    /// (class, predicted class, how many), where there are any.
    pub confusion: Vec<(u32, u32, usize)>,
    /// How sure the network may be.
    pub reliability: Reliability,
}

/// Pictures that are all but the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Duplicates {
    /// Groups of two or more.
    pub groups: usize,
    /// Pictures in them.
    pub pictures: usize,
    /// Held-out pictures that have a copy among those that were learned from: what is measured on them is too good.
    pub leaks: usize,
    /// Groups whose labels are not the same.
    pub disagree: usize,
    /// Some groups: those across splits first, then the largest.
    pub shown: Vec<Vec<Shown>>,
}

/// A review: the contents of `review.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// The run whose network was reviewed, below the experiment's folder.
    pub network: String,
    /// The same for people.
    pub title: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Training pictures whose label it learned from.
    pub labeled: usize,
    /// Training pictures that were classified: those without a label, or else those whose label was not used.
    pub unlabeled: usize,
    /// Whether these have a label that was not used.
    pub pretended: bool,
    /// Pictures that could not be decoded.
    pub damaged: usize,
    /// The held-out pictures, where there are any.
    pub held_out: Option<HeldOut>,
    /// Pictures without a label by predicted class.
    pub gallery: Vec<Drawer>,
    /// Those that the network doubts most.
    pub doubtful: Vec<Guess>,
    /// Those to label next, the most useful first.
    pub next: Vec<Guess>,
    /// Near duplicates.
    pub duplicates: Duplicates,
    /// Pictures unlike all others, each with its mean distance (1 - cosine) to its nearest ones.
    pub outliers: Vec<(Shown, f32)>,
    /// What was sampled, for bounded memory and time.
    pub notes: Vec<String>,
}

impl Review {
    /// That of an experiment's folder; `None` where there was none.
    ///
    /// # Errors
    /// When the file cannot be read or is of another kind.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(layout::REVIEW);
        if !path.is_file() {
            return Ok(None);
        }
        let review = serde_json::from_value(disk::read_json_of(&path, bounds::TABLE)?);
        review.map(Some).with_context(|| format!("{} holds no review; make it again", path.display()))
    }

    /// The name of a class.
    pub fn class(&self, class: u32) -> &str {
        self.classes.get(class as usize).map_or("?", String::as_str)
    }
}

/// Figures of one class on held-out pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct OfClass {
    /// Held-out pictures of it.
    pub pictures: usize,
    /// Those that were predicted to be of it.
    pub predicted: usize,
    /// Share of the predicted ones that are; none where nothing was predicted.
    pub precision: Option<f64>,
    /// Share of its pictures that were found; none where it has none.
    pub recall: Option<f64>,
    /// Their harmonic mean.
    pub f1: Option<f64>,
}

impl HeldOut {
    /// Figures of each of `classes` classes.
    pub fn of_classes(&self, classes: usize) -> Vec<OfClass> {
        let (mut pictures, mut predicted, mut right) = (vec![0; classes], vec![0; classes], vec![0; classes]);
        for &(class, guess, count) in &self.confusion {
            let (class, guess) = (class as usize, guess as usize);
            if class < classes && guess < classes {
                pictures[class] += count;
                predicted[guess] += count;
                right[class] += if class == guess { count } else { 0 };
            }
        }
        let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
        (0..classes)
            .map(|c| OfClass {
                pictures: pictures[c],
                predicted: predicted[c],
                precision: share(right[c], predicted[c]),
                recall: share(right[c], pictures[c]),
                // Twice the right ones over both counts: the harmonic mean, also where one of them is not there.
                f1: share(2 * right[c], pictures[c] + predicted[c]),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_classes() {
        let reliability = Reliability { temperature: 1.0, examples: 10, ece: [0.0; 2], bins: vec![] };
        let confusion = vec![(0, 0, 6), (0, 1, 2), (1, 1, 1), (1, 0, 1)];
        let held = HeldOut { pictures: 10, top1: 0.7, confusion, reliability };
        let of = held.of_classes(3);
        assert_eq!((of[0].pictures, of[0].predicted), (8, 7));
        assert_eq!((of[0].precision, of[0].recall, of[0].f1), (Some(6.0 / 7.0), Some(0.75), Some(0.8)));
        assert_eq!((of[1].precision, of[1].recall), (Some(1.0 / 3.0), Some(0.5)));
        assert_eq!(of[2], OfClass { pictures: 0, predicted: 0, precision: None, recall: None, f1: None });
    }
}
