//! What of an outcome stands together: methods at an amount of labels, axes that vary, means over seeds, names for people.

use crate::outcome::{Axis, Cell, Measure, Outcome};
use crate::statistics::{deviation, mean};
use simclr_core::config::LabelAmount;
use simclr_core::stages::{Method, STAGES};

/// Mean and sample deviation over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation; none of a single one.
    pub deviation: Option<f64>,
    /// How many.
    pub n: usize,
}

impl Spread {
    /// Of some values; `None` where there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let of = || Self { mean: mean(values), deviation: deviation(values), n: values.len() };
        (!values.is_empty()).then(of)
    }
}

/// A method at an amount of labels: what one column of the table holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// As outcomes name it, `finetuned`.
    pub method: String,
    /// How many labels.
    pub labels: LabelAmount,
}

impl Group {
    /// Where the method stands in the order of the stages, and whether another stage's network is measured.
    fn order(&self) -> (bool, usize) {
        let rows = STAGES.iter().flat_map(|stage| stage.rows.iter().map(move |row| (stage, row)));
        let found = rows.enumerate().find(|(_, (_, row))| names(row.name, &self.method));
        found.map_or((true, usize::MAX), |(place, (stage, _))| (stage.measured().is_some(), place))
    }

    /// Whether it measures features with all labels, not what a network learned from some.
    pub fn is_of_features(&self) -> bool {
        self.order().0
    }

    /// The method, for people.
    pub fn title(&self) -> String {
        title(&self.method)
    }
}

/// Whether the row of a stage is what a method's name begins with.
fn names(row: &str, method: &str) -> bool {
    method.strip_prefix(row).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The method for people; its own name where no stage has it.
pub fn title(method: &str) -> String {
    for stage in STAGES {
        for row in stage.rows {
            if names(row.name, method) {
                let student = method[row.name.len()..].strip_prefix('-').map(String::from);
                return Method { stage, row, student }.title();
            }
        }
    }
    method.into()
}

/// All groups that some cell has: by labels, then in the order of the stages; those of features last.
pub fn groups(outcome: &Outcome) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for measure in outcome.cells.iter().flat_map(|cell| &cell.measures) {
        let group = Group { method: measure.method.clone(), labels: measure.labels };
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups.sort_by(|a, b| {
        let ((features_a, place_a), (features_b, place_b)) = (a.order(), b.order());
        features_a.cmp(&features_b).then(a.labels.order(&b.labels)).then(place_a.cmp(&place_b))
    });
    groups
}

/// What a cell measured of a group.
pub fn measured<'a>(cell: &'a Cell, group: &Group) -> Option<&'a Measure> {
    let found = cell.measures.iter().find(|m| m.method == group.method && m.labels == group.labels);
    found.filter(|measure| !measure.top1.is_empty())
}

/// The axes of which cells have several values.
pub fn varied(outcome: &Outcome) -> Vec<&Axis> {
    let several = |axis: &&Axis| {
        let mut values: Vec<_> = outcome.cells.iter().filter_map(|cell| cell.values.get(&axis.name)).collect();
        values.sort();
        values.dedup();
        values.len() > 1
    };
    outcome.axes.iter().filter(several).collect()
}

/// A cell's values on some axes, for people: a number needs the axis' name before it.
pub fn name(cell: &Cell, axes: &[&Axis]) -> String {
    let part = |axis: &&Axis| {
        let value = cell.values.get(&axis.name)?;
        let number = value.parse::<f64>().is_ok();
        Some(if number { format!("{} {value}", axis.name) } else { value.clone() })
    };
    axes.iter().filter_map(part).collect::<Vec<_>>().join(", ")
}

/// How many seeds there are, in words.
pub fn seeds(outcome: &Outcome) -> String {
    let counts = outcome.cells.iter().flat_map(|cell| &cell.measures).map(|m| m.top1.len());
    match (counts.clone().min(), counts.max()) {
        (Some(1), Some(1)) => "1 seed".into(),
        (Some(least), Some(most)) if least == most => format!("{most} seeds each"),
        (Some(least), Some(most)) => format!("{least} to {most} seeds each"),
        _ => "nothing measured yet".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_titles() {
        assert_eq!(title("finetuned"), "Pretrained, fine-tuned");
        assert_eq!(title("distilled-small"), "Distilled: small");
        assert_eq!(title("distilled-self-small"), "Distilled: self-small");
        assert_eq!(title("linear-eval"), "Linear probe");
        assert_eq!(title("something"), "something");
    }

    #[test]
    fn deviations_are_of_samples() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[0.5]).and_then(|s| s.deviation), None);
        let spread = Spread::of(&[0.5, 0.6, 0.7]);
        assert!(spread.is_some_and(|s| (s.mean - 0.6).abs() < 1e-12 && s.n == 3));
        assert!(spread.and_then(|s| s.deviation).is_some_and(|d| (d - 0.1).abs() < 1e-12));
    }
}
