//! Several runs of one experiment: the file, and its table.

use super::text::{counted, millions, percent, row, rule, spread};
use crate::statistics::{deviation, mean};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use simclr_core::config::LabelAmount;
use simclr_core::readable::duration;
use std::collections::BTreeSet;

/// What runs of one experiment measured: the contents of `results/NAME.json`. Accuracies are fractions of 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The experiment's name.
    pub experiment: String,
    /// Its file.
    pub config: String,
    /// What the numbers are of, in some words: the dataset, its test images.
    pub about: String,
    /// What differs between the values of a row: `seeds 0, 1, 2`.
    pub over: String,
    /// Labeled images of a class, where all classes have as many; it gives shares of the labels in numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_a_class: Option<usize>,
    /// What ran where.
    pub made: Made,
    /// What else is to be said below the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// One a method and amount of labels, in the table's order.
    pub rows: Vec<Row>,
}

/// With what, where and how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// The commit of the code, with `+` behind it where files had changed since, or `unknown`.
    pub commit: String,
    /// The revision of numbers (`NUMERICS`).
    pub numerics: u32,
    /// Processor or GPU, and cores.
    pub hardware: String,
    /// The day.
    pub date: String,
    /// Wall time of all stages of one run, seconds: the mean over runs.
    pub seconds: f64,
}

/// One method at one amount of labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// As in the results of an experiment: `finetuned`, `supervised`, `distilled-NAME`, `linear-eval`, `knn`.
    pub method: String,
    /// For people.
    pub title: String,
    /// How many labels.
    pub labels: LabelAmount,
    /// Trained parameters, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<u64>,
    /// What was measured.
    #[serde(flatten)]
    pub top1: Top1,
}

/// Top-1 of the runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Top1 {
    /// Run by run.
    Each {
        /// One value a run.
        top1_each: Vec<f64>,
    },
    /// Of older results, mean and deviation alone.
    Summary {
        /// The mean.
        top1: f64,
        /// The sample standard deviation.
        top1_std: Option<f64>,
        /// Runs.
        n: usize,
    },
}

impl Top1 {
    fn n(&self) -> usize {
        match self {
            Self::Each { top1_each } => top1_each.len(),
            Self::Summary { n, .. } => *n,
        }
    }

    /// `86.83 ± 0.41 (86.60, 87.15, ...)`.
    fn shown(&self) -> String {
        match self {
            Self::Each { top1_each } => {
                let values: Vec<String> = top1_each.iter().map(|value| percent(*value)).collect();
                let each = if values.len() > 1 { format!(" ({})", values.join(", ")) } else { String::new() };
                spread(mean(top1_each), deviation(top1_each)) + &each
            }
            Self::Summary { top1, top1_std, .. } => spread(*top1, *top1_std),
        }
    }

    fn is_sound(&self) -> bool {
        let fraction = |value: &f64| (0.0..=1.0).contains(value);
        match self {
            Self::Each { top1_each } => !top1_each.is_empty() && top1_each.iter().all(fraction),
            Self::Summary { top1, top1_std, n } => {
                fraction(top1) && top1_std.iter().all(fraction) && *n > 0 && (*n > 1) == top1_std.is_some()
            }
        }
    }
}

impl Measured {
    /// Whether its numbers can be.
    ///
    /// # Errors
    /// When a row has no values, or some that are no fractions of 1, or stands there twice.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.rows.is_empty(), "no rows");
        for (i, row) in self.rows.iter().enumerate() {
            let name = format!("{} with {}", row.method, row.labels.words());
            ensure!(
                row.top1.is_sound(),
                "{name}: expected values in 0 to 1, as top1_each, or as top1, n and, of more than one run, top1_std"
            );
            let twice = self.rows[..i].iter().any(|other| other.method == row.method && other.labels == row.labels);
            ensure!(!twice, "{name}: two rows");
        }
        Ok(())
    }

    /// `1 % (60 a class)`.
    fn head(&self, labels: LabelAmount) -> String {
        match (labels, self.images_a_class) {
            (LabelAmount::Share(share), Some(images)) => {
                format!("{} ({} a class)", simclr_core::readable::percent(share), labels.of_class(images))
            }
            (LabelAmount::Share(share), None) => simclr_core::readable::percent(share),
            (LabelAmount::PerClass(_), _) => labels.words(),
        }
    }

    /// The table in Markdown, and what is to be known of it.
    pub fn table(&self) -> String {
        let mut columns: Vec<LabelAmount> = Vec::new();
        let mut methods: Vec<&Row> = Vec::new();
        let (all, trained): (Vec<&Row>, Vec<&Row>) =
            self.rows.iter().partition(|row| ["linear-eval", "knn"].contains(&row.method.as_str()));
        for row in &trained {
            if !columns.contains(&row.labels) {
                columns.push(row.labels);
            }
            if !methods.iter().any(|other| other.method == row.method) {
                methods.push(row);
            }
        }
        columns.sort_by(LabelAmount::order);
        let mut out = format!("`{}`: {}; n values over {}.\n\n", self.config, self.about, self.over);
        let heads = ["", "parameters", "n"].map(String::from).into_iter();
        out += &row(heads.chain(columns.iter().map(|labels| self.head(*labels))));
        out += &rule(3 + columns.len(), 3 + columns.len());
        for method in methods {
            let of = |labels| trained.iter().find(|row| row.method == method.method && row.labels == labels);
            let runs: BTreeSet<usize> = columns.iter().filter_map(|labels| Some(of(*labels)?.top1.n())).collect();
            let runs: Vec<String> = runs.iter().map(usize::to_string).collect();
            let front = [method.title.clone(), method.params.map_or_else(String::new, millions), runs.join(", ")];
            let values = columns.iter().map(|labels| of(*labels).map_or_else(String::new, |row| row.top1.shown()));
            out += &row(front.into_iter().chain(values));
        }
        if !all.is_empty() {
            let said: Vec<String> = all.iter().map(|row| format!("{} {}", row.title, row.top1.shown())).collect();
            out += &format!("\nOn the frozen encoder, by all labels: {}.\n", said.join("; "));
        }
        let Made { commit, numerics, hardware, date, seconds } = &self.made;
        out += &format!(
            "\nTop-1 in percent, mean ± sample deviation{}. {hardware}; {} a run; {date}, commit {commit}, numerics {numerics}.\n",
            if self.rows.iter().any(|row| matches!(&row.top1, Top1::Each { top1_each } if top1_each.len() > 1)) {
                " (each value)"
            } else {
                ""
            },
            duration(*seconds),
        );
        for note in &self.notes {
            out += &format!("\n{note}\n");
        }
        out
    }

    /// `3 runs`, for what is told while a file is made.
    pub(super) fn counted(&self) -> String {
        counted(self.rows.iter().map(|row| row.top1.n()).max().unwrap_or(0), "value")
    }
}
