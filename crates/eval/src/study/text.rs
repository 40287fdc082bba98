//! What a study came to, for the terminal.

use simclr_core::readable::{columns, duration};
use simclr_study::Outcome;
use simclr_study::outcome::{Cell, Measure, Verdict};
use simclr_study::statistics::{deviation, mean};

/// The table of cells and the claims.
pub fn render(outcome: &Outcome) -> String {
    let mut measured: Vec<(String, _)> = Vec::new();
    for measure in outcome.cells.iter().flat_map(|cell| &cell.measures) {
        let column = (measure.method.clone(), measure.labels);
        if !measured.contains(&column) {
            measured.push(column);
        }
    }
    let mut rows = vec![vec![outcome.study.clone()]];
    rows[0].extend(measured.iter().map(|(method, labels)| format!("{method} {labels}")));
    for cell in &outcome.cells {
        let mut row = vec![cell.id.clone()];
        row.extend(measured.iter().map(|(method, labels)| find(cell, method, *labels).map_or_else(String::new, shown)));
        rows.push(row);
    }
    let mut out = columns(&rows);
    for claim in &outcome.claims {
        let said = match claim.verdict {
            Verdict::Confirmed => "confirmed",
            Verdict::NotSeen => "not seen",
            Verdict::Opposite => "opposite",
            Verdict::Open => "open: too few seeds have finished",
        };
        let [low, high] = claim.interval;
        out += &format!(
            "\n{}: {said}\n  {}: {:+.2} points [{low:+.2}, {high:+.2}], n = {}",
            claim.text, claim.difference, claim.mean, claim.n
        );
        if let Some(published) = claim.published {
            out += &format!("; the paper {published:+.1}");
        }
        out += "\n";
    }
    for conclusion in &outcome.conclusions {
        out += &format!("\n{conclusion}");
    }
    if !outcome.conclusions.is_empty() {
        out += "\n";
    }
    if !outcome.missing.is_empty() {
        out += &format!("\n{} of {} runs have not finished\n", outcome.missing.len(), outcome.made.runs);
    }
    out + &format!("\n{} runs, {} of computing\n", outcome.made.runs, duration(outcome.made.seconds))
}

fn find<'a>(cell: &'a Cell, method: &str, labels: simclr_core::config::LabelAmount) -> Option<&'a Measure> {
    cell.measures.iter().find(|m| m.method == method && m.labels == labels)
}

fn shown(measure: &Measure) -> String {
    let spread = deviation(&measure.top1).map_or_else(String::new, |d| format!(" ± {:.2}", 100.0 * d));
    format!("{:.2}{spread}", 100.0 * mean(&measure.top1))
}
