//! Tables: what was measured, and what the paper published.

use super::grid::{self, Group, Spread};
use crate::outcome::{Axis, Cell, Outcome};
use simclr_core::readable::count;
use simclr_report::html::{escape, scroll};
use std::fmt::Write;

/// Both.
pub fn html(outcome: &Outcome) -> String {
    let groups = grid::groups(outcome);
    if groups.is_empty() {
        return "<p class=\"note\">Nothing was measured yet.</p>\n".to_string() + &published(outcome);
    }
    let axes = grid::varied(outcome);
    // The longer side runs down the page.
    let table = if outcome.cells.len() >= groups.len() {
        by_cell(outcome, &axes, &groups)
    } else {
        by_group(outcome, &axes, &groups)
    };
    scroll("Accuracies", &table) + &published(outcome)
}

/// What the numbers are, in a sentence.
fn caption(outcome: &Outcome) -> String {
    format!(
        "<caption><span>Top-1 on the test images of {}, in %: mean ± sample standard deviation over seeds ({}). Best of each \
         comparison in colour.</span></caption>",
        escape(simclr_data::source::title(&outcome.dataset, None)),
        grid::seeds(outcome)
    )
}

/// Whether cells differ in how many seeds have finished.
fn uneven(outcome: &Outcome) -> bool {
    let mut counts = outcome.cells.iter().flat_map(|cell| &cell.measures).map(|m| m.top1.len());
    let first = counts.next();
    counts.any(|n| Some(n) != first)
}

/// One accuracy; `best` is the highest mean that it is compared with.
fn accuracy(spread: Option<Spread>, best: f64, counted: bool) -> String {
    let Some(spread) = spread else { return "<td class=\"absent\">–</td>".into() };
    let class = if spread.mean >= best { " class=\"best\"" } else { "" };
    let mut out = format!("<td{class}>{:.2}", 100.0 * spread.mean);
    if let Some(deviation) = spread.deviation {
        let _ = write!(out, " <small>± {:.2}</small>", 100.0 * deviation);
    }
    if counted {
        let _ = write!(out, " <small>(n = {})</small>", spread.n);
    }
    out + "</td>"
}

fn spread(cell: &Cell, group: &Group) -> Option<Spread> {
    grid::measured(cell, group).and_then(|measure| Spread::of(&measure.top1))
}

fn best(outcome: &Outcome, group: &Group) -> f64 {
    outcome.cells.iter().filter_map(|cell| spread(cell, group)).map(|s| s.mean).fold(f64::NEG_INFINITY, f64::max)
}

/// A row for each cell, a column for each method and amount of labels.
fn by_cell(outcome: &Outcome, axes: &[&Axis], groups: &[Group]) -> String {
    let counted = uneven(outcome);
    let mut out = format!("<table class=\"results\">{}\n<thead><tr>", caption(outcome));
    for axis in axes {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(&axis.title));
    }
    if axes.is_empty() {
        out += "<th scope=\"col\">Cell</th>";
    }
    out += "<th scope=\"col\">Parameters</th>";
    for group in groups {
        let _ = write!(out, "<th scope=\"col\">{}<br>{}</th>", escape(&group.title()), group.labels.words());
    }
    out += "</tr></thead>\n<tbody>\n";
    for cell in &outcome.cells {
        out += "<tr>";
        for (i, axis) in axes.iter().enumerate() {
            let value = cell.values.get(&axis.name).map_or("–", String::as_str);
            out += &match i {
                0 => format!("<th scope=\"row\">{}</th>", escape(value)),
                _ => format!("<td>{}</td>", escape(value)),
            };
        }
        if axes.is_empty() {
            let _ = write!(out, "<th scope=\"row\">{}</th>", escape(&cell.id));
        }
        let params = cell.measures.iter().map(|m| m.params).max();
        let _ = write!(out, "<td>{}</td>", params.map_or("–".into(), count));
        for group in groups {
            out += &accuracy(spread(cell, group), best(outcome, group), counted);
        }
        out += "</tr>\n";
    }
    out + "</tbody></table>"
}

/// A row for each amount of labels and method, a column for each cell; of a single cell, a column for each method.
fn by_group(outcome: &Outcome, axes: &[&Axis], groups: &[Group]) -> String {
    let counted = uneven(outcome);
    let mut out = format!("<table class=\"results\">{}\n<thead><tr>", caption(outcome));
    if let [cell] = &outcome.cells[..] {
        let (mut methods, mut amounts) = (Vec::new(), Vec::new());
        for group in groups {
            if !methods.contains(&&group.method) {
                methods.push(&group.method);
            }
            if !amounts.contains(&group.labels) {
                amounts.push(group.labels);
            }
        }
        amounts.sort_by(simclr_core::config::LabelAmount::order);
        out += "<th scope=\"col\">Labels</th>";
        for method in &methods {
            let _ = write!(out, "<th scope=\"col\">{}</th>", escape(&grid::title(method)));
        }
        out += "</tr></thead>\n<tbody>\n";
        for labels in amounts {
            let row: Vec<_> = methods.iter().map(|m| spread(cell, &Group { method: m.to_string(), labels })).collect();
            let best = row.iter().flatten().map(|s| s.mean).fold(f64::NEG_INFINITY, f64::max);
            let _ = write!(out, "<tr><th scope=\"row\">{}</th>", labels.words());
            row.into_iter().for_each(|spread| out += &accuracy(spread, best, counted));
            out += "</tr>\n";
        }
        return out + "</tbody></table>";
    }
    out += "<th scope=\"col\">Method</th><th scope=\"col\">Labels</th>";
    for cell in &outcome.cells {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(&grid::name(cell, axes)));
    }
    out += "</tr></thead>\n<tbody>\n";
    for group in groups {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td>",
            escape(&group.title()),
            group.labels.words().replace(" of the labels", "")
        );
        for cell in &outcome.cells {
            out += &accuracy(spread(cell, group), best(outcome, group), counted);
        }
        out += "</tr>\n";
    }
    out + "</tbody></table>"
}

/// The paper's own tables, set apart: they are of another dataset and of far larger networks.
fn published(outcome: &Outcome) -> String {
    let mut out = String::new();
    for table in &outcome.published {
        let title = escape(&table.title);
        let mut inner = format!("<table class=\"results\"><caption><span>{title}</span></caption>\n<thead><tr>");
        for column in &table.columns {
            let _ = write!(inner, "<th scope=\"col\">{}</th>", escape(column));
        }
        inner += "</tr></thead>\n<tbody>\n";
        for row in &table.rows {
            inner += "<tr>";
            for (i, value) in row.iter().enumerate() {
                let value = escape(value);
                inner += &if i == 0 { format!("<th scope=\"row\">{value}</th>") } else { format!("<td>{value}</td>") };
            }
            inner += "</tr>\n";
        }
        inner += "</tbody></table>";
        let _ = writeln!(
            out,
            "<div class=\"published\"><p><span class=\"mark\">published</span> The paper's values, on ImageNet: not measured here, \
             and not to be compared with the table above but in their order.</p>\n{}</div>",
            scroll(&table.title, &inner)
        );
    }
    out
}
