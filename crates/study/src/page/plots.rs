//! Plots of accuracy, with the deviation over seeds, against what varies.

use super::grid::{self, Group, Spread};
use crate::outcome::{Axis, Cell, Measure, Outcome};
use simclr_core::config::LabelAmount;
use simclr_core::stages::FINETUNED;
use simclr_report::chart::{Chart, Points, Scale, Series};

/// Most lines of a plot that is made beside the main ones.
const LINES: usize = 8;

/// All plots.
pub fn html(outcome: &Outcome) -> String {
    let varied = grid::varied(outcome);
    // Of several axes, that with the most values runs along x; the others are lines.
    let most = varied.iter().map(|axis| axis.values.len()).max();
    let main = varied.iter().position(|axis| Some(axis.values.len()) == most);
    let mut charts = String::new();
    match main {
        Some(main) => {
            let rest: Vec<&Axis> = varied.iter().enumerate().filter(|(i, _)| *i != main).map(|(_, a)| *a).collect();
            let x = Across::of(outcome, varied[main]);
            charts += &against(outcome, &x, &rest);
            if x.by_size {
                charts += &gain(outcome);
            }
            if lines_by_labels(outcome) <= LINES && amounts(outcome).len() > 2 {
                charts += &by_labels(outcome, &varied);
            }
        }
        None => charts += &by_labels(outcome, &varied),
    }
    if charts.is_empty() {
        return "<p class=\"note\">Nothing was measured yet.</p>\n".into();
    }
    format!(
        "<p>Bars show one sample standard deviation over seeds to either side of the mean.</p>\n<div class=\"charts\">\n{charts}</div>\n"
    )
}

/// What runs along x.
struct Across<'a> {
    axis: &'a Axis,
    label: String,
    scale: Scale,
    /// It is the size of networks: the place is the number of parameters.
    by_size: bool,
}

impl<'a> Across<'a> {
    fn of(outcome: &Outcome, axis: &'a Axis) -> Self {
        let numbers: Option<Vec<f64>> =
            axis.values.iter().map(|v| v.parse().ok().filter(|v: &f64| v.is_finite())).collect();
        if let Some(numbers) = numbers {
            let (low, high) =
                numbers.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(*v), b.max(*v)));
            let scale = if low > 0.0 && high >= 10.0 * low { Scale::Log } else { Scale::Values };
            return Self { axis, label: axis.title.clone(), scale, by_size: false };
        }
        if is_size(outcome, axis) {
            return Self { axis, label: "parameters of the network".into(), scale: Scale::LogCount, by_size: true };
        }
        Self { axis, label: axis.title.clone(), scale: Scale::Names(axis.values.clone()), by_size: false }
    }

    fn place(&self, cell: &Cell, measure: &Measure) -> Option<f64> {
        let value = cell.values.get(&self.axis.name)?;
        match &self.scale {
            _ if self.by_size => Some(measure.params as f64),
            Scale::Names(names) => names.iter().position(|name| name == value).map(|i| i as f64),
            _ => value.parse().ok(),
        }
    }
}

/// Whether the values of an axis are networks of as many sizes: each method's parameters tell them apart.
fn is_size(outcome: &Outcome, axis: &Axis) -> bool {
    let apart = |group: &Group| {
        let sizes = |value: &String| -> Vec<u64> {
            let of = outcome.cells.iter().filter(|cell| cell.values.get(&axis.name) == Some(value));
            let mut sizes: Vec<u64> = of.filter_map(|cell| grid::measured(cell, group)).map(|m| m.params).collect();
            sizes.sort_unstable();
            sizes.dedup();
            sizes
        };
        let mut all: Vec<u64> = axis.values.iter().flat_map(sizes).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        count >= 3 && all.len() == count
    };
    let groups = grid::groups(outcome);
    !groups.is_empty() && groups.iter().filter(|group| !group.is_of_features()).all(apart)
}

/// The amounts of labels that networks learned from, few to many.
fn amounts(outcome: &Outcome) -> Vec<LabelAmount> {
    let mut amounts: Vec<LabelAmount> =
        grid::groups(outcome).into_iter().filter(|g| !g.is_of_features()).map(|g| g.labels).collect();
    amounts.dedup();
    amounts
}

/// A plot for each amount of labels; where lines already stand for other axes, for each method, too.
fn against(outcome: &Outcome, x: &Across<'_>, rest: &[&Axis]) -> String {
    let mut plots: Vec<(String, Vec<Group>)> = Vec::new();
    for group in grid::groups(outcome) {
        let labels = match group.is_of_features() {
            true => "frozen features, all labels".into(),
            false => group.labels.words(),
        };
        let title = match rest.is_empty() {
            true => format!("Top-1, {labels}"),
            false => format!("Top-1, {}, {labels}", group.title()),
        };
        match plots.iter_mut().find(|(other, _)| *other == title) {
            Some((_, groups)) => groups.push(group),
            None => plots.push((title, vec![group])),
        }
    }
    let draw = |(title, groups): (String, Vec<Group>)| {
        let mut series: Vec<Series> = Vec::new();
        for group in &groups {
            for cell in &outcome.cells {
                let Some(measure) = grid::measured(cell, group) else { continue };
                let name = if rest.is_empty() { group.title() } else { grid::name(cell, rest) };
                if let (Some(place), Some(spread)) = (x.place(cell, measure), Spread::of(&measure.top1)) {
                    add(&mut series, &name, place, spread);
                }
            }
        }
        chart(&title, &x.label, x.scale.clone(), series)
    };
    plots.into_iter().map(draw).collect()
}

/// How many lines accuracy against labels would have.
fn lines_by_labels(outcome: &Outcome) -> usize {
    let mut methods: Vec<String> = grid::groups(outcome).into_iter().map(|g| g.method).collect();
    methods.sort();
    methods.dedup();
    methods.len() * outcome.cells.len()
}

/// Accuracy against how many labels were used, a line a method and cell: a plot over shares, and one over labels a class.
fn by_labels(outcome: &Outcome, varied: &[&Axis]) -> String {
    let share = |labels| if let LabelAmount::Share(share) = labels { Some(share) } else { None };
    let counted = |labels| if let LabelAmount::PerClass(count) = labels { Some(count as f64) } else { None };
    let of = |place: &dyn Fn(LabelAmount) -> Option<f64>, label: &str, scale: Scale| {
        let mut series: Vec<Series> = Vec::new();
        for group in grid::groups(outcome) {
            let Some(x) = place(group.labels) else { continue };
            for cell in &outcome.cells {
                let Some(spread) = grid::measured(cell, &group).and_then(|m| Spread::of(&m.top1)) else { continue };
                let name = match varied.is_empty() {
                    true => group.title(),
                    false => format!("{}, {}", grid::name(cell, varied), group.title()),
                };
                add(&mut series, &name, x, spread);
            }
        }
        if series.is_empty() { String::new() } else { chart("Top-1 by labels", label, scale, series) }
    };
    of(&share, "share of the training labels", Scale::LogPercent)
        + &of(&counted, "labels of each class", Scale::LogCount)
}

/// How much better than the smallest network each is, as the paper's figure 1 shows it: relative, seed by seed, a line for each
/// amount of labels.
fn gain(outcome: &Outcome) -> String {
    let mut series: Vec<Series> = Vec::new();
    for group in grid::groups(outcome).iter().filter(|group| group.method == FINETUNED) {
        let measures: Vec<&Measure> = outcome.cells.iter().filter_map(|cell| grid::measured(cell, group)).collect();
        let Some(smallest) = measures.iter().min_by_key(|measure| measure.params) else { continue };
        for measure in &measures {
            let of_seed = |(seed, top1): (&u64, &f64)| {
                let at = smallest.seeds.iter().position(|other| other == seed)?;
                smallest.top1.get(at).filter(|base| **base > 0.0).map(|base| top1 / base - 1.0)
            };
            let gains: Vec<f64> = measure.seeds.iter().zip(&measure.top1).filter_map(of_seed).collect();
            if let Some(spread) = Spread::of(&gains) {
                add(&mut series, &group.labels.words(), measure.params as f64, spread);
            }
        }
    }
    let title = "Relative gain over the smallest network, fine-tuned";
    if series.is_empty() { String::new() } else { chart(title, "parameters of the network", Scale::LogCount, series) }
}

fn add(series: &mut Vec<Series>, name: &str, x: f64, spread: Spread) {
    let at = series.iter().position(|s| s.name == name).unwrap_or_else(|| {
        series.push(Series { name: name.into(), points: vec![], deviations: vec![], shown: Points::Marked });
        series.len() - 1
    });
    series[at].points.push((x, spread.mean));
    series[at].deviations.push(spread.deviation);
}

fn chart(title: &str, x_label: &str, x: Scale, mut series: Vec<Series>) -> String {
    // Lines run by growing x, whatever the order of the grid.
    for line in &mut series {
        let mut points: Vec<_> = line.points.iter().copied().zip(line.deviations.iter().copied()).collect();
        points.sort_by(|a, b| a.0.0.total_cmp(&b.0.0));
        (line.points, line.deviations) = points.into_iter().unzip();
    }
    Chart { title, x_label, x, y: Scale::Percent, series }.html()
}
