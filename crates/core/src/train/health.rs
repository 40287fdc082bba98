//! Early warnings: training that learns nothing, and features that have become the same for every image.
//!
//! They follow from the lines of `metrics.jsonl` alone, so that a report finds in them what the log said while it trained.

use std::collections::VecDeque;

/// The loss of a step.
pub const LOSS: &str = "loss";
/// The loss of a network that knows nothing.
pub const CHANCE: &str = "chance_loss";
/// How alike the features of a batch are (`simclr_ops::mean_cosine`).
pub const COSINE: &str = "feature_cosine";

/// Logged steps in a row that are looked at: a tenth of a run, as the log has them.
const LINES: usize = 50;
/// A loss above this share of that of guessing has learned nothing.
const LEARNED: f64 = 0.99;
/// Features of less variance than this are the same for every image.
const VARIANCE: f64 = 1e-4;

/// The cross entropy of a network that finds each of so many answers equally likely.
pub fn guess_among(answers: usize) -> f64 {
    libm::log(answers as f64)
}

/// What is wrong with a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Concern {
    /// Steps between which it was seen.
    pub steps: (u64, u64),
    /// What was seen, and what may help.
    pub text: String,
}

/// Looks at what a training logs, line by line.
#[derive(Default)]
pub struct Health {
    losses: Trail,
    cosines: Trail,
}

/// The last lines that held a figure, and whether they have been told of.
#[derive(Default)]
struct Trail {
    lines: VecDeque<(u64, f64)>,
    told: bool,
}

impl Trail {
    /// Adds a line; gives the steps that the last lines span and their mean, where there are enough of them.
    fn add(&mut self, step: u64, figure: f64) -> Option<((u64, u64), f64)> {
        // A run that went back tells of its steps again.
        while self.lines.back().is_some_and(|(last, _)| *last >= step) {
            self.lines.pop_back();
        }
        self.lines.push_back((step, figure));
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
        let first = self.lines.front().filter(|_| self.lines.len() == LINES)?;
        Some(((first.0, step), self.lines.iter().map(|(_, figure)| figure).sum::<f64>() / LINES as f64))
    }

    /// Whether to tell of it: once, until it is over.
    fn tells(&mut self, wrong: bool) -> bool {
        let tells = wrong && !self.told;
        self.told = wrong;
        tells
    }
}

impl Health {
    /// Takes note of a logged line; gives what is to be told of it, each trouble once until it is over.
    pub fn saw<'a>(&mut self, step: u64, values: impl Iterator<Item = (&'a str, f64)>) -> Vec<Concern> {
        let (mut loss, mut chance, mut cosine) = (None, None, None);
        for (name, value) in values.filter(|(_, value)| value.is_finite()) {
            match name {
                LOSS => loss = Some(value),
                CHANCE => chance = Some(value),
                COSINE => cosine = Some(value),
                _ => (),
            }
        }
        let mut concerns = Vec::new();
        if let (Some(loss), Some(chance)) = (loss, chance)
            && let Some((steps, share)) = self.losses.add(step, loss / chance)
            && self.losses.tells(share > LEARNED)
        {
            let text = format!(
                "the loss is {:.3}, and that of guessing {chance:.3}: nothing is learned. Try another learning_rate (a tenth, ten \
                 times), a lower temperature, a larger batch, and look at the pictures and their views (inspect-data)",
                share * chance
            );
            concerns.push(Concern { steps, text });
        }
        if let Some(cosine) = cosine
            && let Some((steps, cosine)) = self.cosines.add(step, cosine)
            && self.cosines.tells(1.0 - cosine < VARIANCE)
        {
            let text = format!(
                "the features have a variance of {:.1e}: they are the same for every image, the network has collapsed. Try a \
                 lower learning_rate, a longer warmup, less weight_decay, and look whether the pictures differ (inspect-data)",
                (1.0 - cosine).max(0.0)
            );
            concerns.push(Concern { steps, text });
        }
        concerns
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What is told of lines with this figure, by step.
    fn told(
        lines: impl Iterator<Item = (u64, f64)>,
        line: impl Fn(f64) -> Vec<(&'static str, f64)>,
    ) -> Vec<(u64, u64)> {
        let mut health = Health::default();
        lines.flat_map(|(step, figure)| health.saw(step, line(figure).into_iter())).map(|c| c.steps).collect()
    }

    #[test]
    fn a_loss_of_guessing_is_told_once_until_it_is_over() {
        let line = |loss: f64| vec![(LOSS, loss), ("other", 7.0), (CHANCE, 5.0)];
        let flat = |of: std::ops::RangeInclusive<u64>, loss: f64| of.map(move |step| (step, loss));
        assert!(told(flat(1..=49, 5.0), line).is_empty(), "not at once");
        assert_eq!(told(flat(1..=300, 4.99), line), [(1, 50)]);
        assert!(told(flat(1..=300, 4.9), line).is_empty(), "two per cent are learned");
        assert!(told(flat(1..=300, 5.0), |loss| vec![(LOSS, loss)]).is_empty(), "nobody knows what guessing gives");
        let again = flat(1..=60, 5.0).chain(flat(61..=120, 2.0)).chain(flat(121..=200, 6.0));
        assert_eq!(told(again, line).len(), 2);
        // Lines of steps that were done again replace those of before.
        let rewound = flat(1..=40, 5.0).chain(flat(11..=40, 5.0)).chain(flat(41..=49, 5.0));
        assert!(told(rewound, line).is_empty());
    }

    #[test]
    fn features_that_are_all_alike_have_collapsed() {
        let lines = |cosine: f64| (1..=100).map(move |step| (step, cosine));
        let line = |cosine: f64| vec![(COSINE, cosine)];
        assert_eq!(told(lines(1.0), line), [(1, 50)]);
        assert!(told(lines(0.998), line).is_empty() && told(lines(f64::NAN), line).is_empty());
    }
}
