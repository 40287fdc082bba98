//! The tables that a review leaves: predictions, and pictures to label next.

use super::names::{Judged, Names, TOP};
use crate::output::csv;
use anyhow::Result;
use simclr_core::disk;
use simclr_core::run::layout;
use simclr_report::review::Split;
use std::path::Path;

/// Each picture without label and each held-out one, with its likeliest classes; the label of those held out.
///
/// # Errors
/// When the file cannot be written.
pub fn predictions(run: &Path, names: &Names<'_>, on_pool: &[Judged], on_held: &[Judged]) -> Result<()> {
    let header =
        ["file", "class", "probability", "class_2", "probability_2", "class_3", "probability_3", "set", "label"];
    let row = |split: Split, set: &str, judged: &Judged| {
        let label = if split == Split::Test { names.label(split, judged.sample) } else { None };
        let mut row = vec![names.shown(split, judged.sample).file];
        for k in 0..TOP {
            let best = judged.best.get(k);
            row.push(best.map_or_else(String::new, |(class, _)| names.class(*class).into()));
            row.push(best.map_or_else(String::new, |(_, probability)| probability.to_string()));
        }
        row.extend([set.into(), label.map_or_else(String::new, |label| names.class(label).into())]);
        row
    };
    let pool = on_pool.iter().map(|judged| row(Split::Train, "unlabeled", judged));
    let held = on_held.iter().map(|judged| row(Split::Test, "held-out", judged));
    let rows = std::iter::once(header.map(String::from).to_vec()).chain(pool).chain(held);
    disk::write(&run.join(layout::PREDICTIONS), &csv(rows)?)
}

/// The pictures to label next, with a column for the label that is still to come: filled in, the file is a table of labels.
///
/// # Errors
/// When the file cannot be written.
pub fn next_to_label(run: &Path, names: &Names<'_>, next: &[&Judged]) -> Result<()> {
    let header = ["file", "label", "guess", "probability", "doubt"].map(String::from).to_vec();
    let row = |judged: &&Judged| {
        let file = names.shown(Split::Train, judged.sample).file;
        // Without a classifier there is no guess.
        let guess = judged.best.first().map(|(class, probability)| {
            [names.class(*class).to_string(), probability.to_string(), judged.doubt.to_string()]
        });
        [vec![file, String::new()], guess.unwrap_or_default().to_vec()].concat()
    };
    let rows = std::iter::once(header).chain(next.iter().map(row));
    disk::write(&run.join(layout::NEXT_TO_LABEL), &csv(rows)?)
}
