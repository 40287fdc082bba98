//! What was found where pictures were looked for, and what was made of it: what a person is told before anything is trained.

use super::walk::PassedOver;
use anyhow::Result;
use serde::Serialize;
use simclr_core::disk;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Names that a line gives of many.
const SHOWN: usize = 3;

/// What was found while a dataset was opened. A dataset in memory has found nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Found {
    /// Where the pictures of each split lie.
    pub places: Vec<Place>,
    /// Files that are no pictures.
    pub passed_over: PassedOver,
    /// The table of labels.
    pub table: Option<TableFound>,
    /// The pictures that were held out to measure on.
    pub held_out: Option<HeldOut>,
    /// Whatever else there is to know, a sentence each.
    pub notes: Vec<String>,
}

/// Where pictures of a split lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `train`, `test` or `unlabeled`; the last are training pictures, too.
    pub split: &'static str,
    /// The folder, or the files.
    pub at: String,
    /// How many pictures there are.
    pub pictures: usize,
    /// What chose it: a key, or a usual name.
    pub why: String,
}

/// What a table of labels said of the pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableFound {
    /// The file.
    pub file: String,
    /// The columns that hold file and label.
    pub columns: [String; 2],
    /// Rows that have a label.
    pub rows: usize,
    /// Rows whose label is empty, -1 or NaN.
    pub rows_without_label: usize,
    /// Pictures that have their label from it.
    pub labeled: usize,
    /// Rows that name no picture here.
    pub rows_without_picture: usize,
    /// Some of them.
    pub some_without_picture: Vec<String>,
    /// Pictures that no row names.
    pub pictures_without_row: usize,
}

/// Labeled pictures that were taken out of the training split to measure on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeldOut {
    /// The key that says how many: `data.held_out = 0.2` or `data.fold = [0, 5]`.
    pub by: String,
    /// Labeled pictures that they were chosen among.
    pub labeled: usize,
    /// Least and most of a class.
    pub per_class: [usize; 2],
    /// Classes of a single picture, which stays in training.
    pub single: Vec<String>,
    /// Their paths below the split's folder, or their names; sorted.
    pub pictures: Vec<String>,
}

impl HeldOut {
    /// Writes it as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        disk::write_json(path, &serde_json::to_value(self)?)
    }
}

/// Some of many names: `a, b, c, ...`.
pub(crate) fn some<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN).map(AsRef::as_ref).collect();
    shown.join(", ") + if names.len() > SHOWN { ", ..." } else { "" }
}

impl Found {
    /// All of it for people, a line a fact.
    pub fn lines(&self) -> Vec<String> {
        let place = |p: &Place| format!("{}: {} pictures in {} ({})", p.split, p.pictures, p.at, p.why);
        let mut lines: Vec<String> = self.places.iter().map(place).collect();
        if !self.passed_over.is_empty() {
            lines.push(format!("passed over: {}", self.passed_over));
        }
        lines.extend(self.table.iter().flat_map(TableFound::lines));
        lines.extend(self.held_out.iter().flat_map(HeldOut::lines));
        lines.extend(self.notes.iter().cloned());
        lines
    }

    /// Says all of it in the log; a line that was said in this process already is not said again.
    pub(crate) fn log(&self) {
        static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        for line in self.lines() {
            if !said.contains(&line) {
                tracing::info!("{line}");
                said.insert(line);
            }
        }
    }
}

impl TableFound {
    fn lines(&self) -> Vec<String> {
        let [file, label] = &self.columns;
        let mut line = format!(
            "labels: {} of {} rows of {} label {} pictures (columns \"{file}\" and \"{label}\"); {} pictures have no row",
            self.rows - self.rows_without_picture,
            self.rows,
            self.file,
            self.labeled,
            self.pictures_without_row
        );
        if self.rows_without_label > 0 {
            line += &format!(", and {} rows no label", self.rows_without_label);
        }
        let mut lines = vec![line];
        if self.rows_without_picture > 0 {
            let some = some(&self.some_without_picture);
            lines.push(format!("labels: {} rows name no picture here, such as {some}", self.rows_without_picture));
        }
        lines
    }
}

impl HeldOut {
    fn lines(&self) -> Vec<String> {
        let [least, most] = self.per_class;
        let mut lines = vec![format!(
            "held out to measure on: {} of {} labeled pictures, {least} to {most} a class ({})",
            self.pictures.len(),
            self.labeled,
            self.by
        )];
        if !self.single.is_empty() {
            let (count, some) = (self.single.len(), some(&self.single));
            lines.push(format!("{count} classes have one labeled picture, which stays in training: {some}"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_a_line() {
        let place = Place { split: "train", at: "d/Training".into(), pictures: 40, why: "a usual name".into() };
        let table = TableFound {
            file: "l.csv".into(),
            columns: ["file".into(), "y".into()],
            rows: 12,
            rows_without_label: 1,
            labeled: 10,
            rows_without_picture: 2,
            some_without_picture: vec!["p".into(), "q".into()],
            pictures_without_row: 28,
        };
        let held_out = HeldOut {
            by: "data.held_out = 0.2".into(),
            labeled: 10,
            per_class: [0, 1],
            single: vec!["c".into()],
            pictures: vec!["x".into(), "y".into()],
        };
        let passed_over = PassedOver { endings: [("txt".into(), 3)].into(), ..PassedOver::default() };
        let found = Found {
            places: vec![place],
            passed_over,
            table: Some(table),
            held_out: Some(held_out),
            notes: vec!["more".into()],
        };
        let expected = [
            "train: 40 pictures in d/Training (a usual name)",
            "passed over: txt 3",
            "labels: 10 of 12 rows of l.csv label 10 pictures (columns \"file\" and \"y\"); 28 pictures have no row, and 1 rows \
             no label",
            "labels: 2 rows name no picture here, such as p, q",
            "held out to measure on: 2 of 10 labeled pictures, 0 to 1 a class (data.held_out = 0.2)",
            "1 classes have one labeled picture, which stays in training: c",
            "more",
        ];
        assert_eq!(found.lines(), expected);
        assert!(Found::default().lines().is_empty());
    }
}
