//! Tables of studies: what became of each claim, and every cell.

use super::text::{counted, millions, of_values, row, rule};
use crate::Outcome;
use crate::outcome::{Cell, Claim, Made, Measure, Published, Verdict};
use simclr_core::config::LabelAmount;
use simclr_core::readable::duration;

/// What stands where there is no study yet.
const NONE: &str =
    "No study has been measured yet: `cargo xtask reproduce --experiment NAME`, then `cargo xtask results add`.\n";

/// A study, and what is to be said of its age.
pub struct Shown<'a> {
    /// What it came to.
    pub outcome: &'a Outcome,
    /// What stands below it, or nothing.
    pub warning: String,
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Confirmed => "confirmed",
        Verdict::NotSeen => "not seen",
        Verdict::Opposite => "opposite",
        Verdict::Open => "open",
    }
}

/// `+2.10 [+0.40, +3.80]`; without an interval where there are too few seeds for one.
fn difference(claim: &Claim) -> String {
    let [low, high] = claim.interval;
    match claim.verdict {
        Verdict::Open => format!("{:+.2}", claim.mean),
        _ => format!("{:+.2} [{low:+.2}, {high:+.2}]", claim.mean),
    }
}

fn published(claim: &Claim) -> String {
    claim.published.map_or_else(String::new, |points| format!("{points:+.1}"))
}

/// What ran where, as a sentence.
fn made(made: &Made) -> String {
    let Made { commit, numerics, hardware, simd, date, seconds, runs, at_once } = made;
    let simd = if simd.is_empty() { String::new() } else { format!(" ({simd})") };
    let together = if *at_once > 1 { format!(", {at_once} at once") } else { String::new() };
    format!(
        "{hardware}{simd}; {}{together}, {} of computing; {date}, commit {commit}, numerics {numerics}.",
        counted(*runs, "run"),
        duration(*seconds)
    )
}

/// The claims of all studies in one table.
pub fn claims<'a>(studies: impl Iterator<Item = Shown<'a>>) -> String {
    let studies: Vec<Shown> = studies.collect();
    if studies.is_empty() {
        return NONE.into();
    }
    let mut out =
        row(["study", "claim of the paper", "here, points of top-1 [95 % interval]", "n", "verdict", "paper"]);
    out += &rule(6, 6);
    for Shown { outcome, .. } in &studies {
        for claim in &outcome.claims {
            let study = format!("{}, {}", outcome.study, outcome.scale);
            let n = claim.n.to_string();
            out += &row([&study, &claim.text, &difference(claim), &n, verdict(claim.verdict), &published(claim)]);
        }
    }
    out += "\nPoints are means over `n` seeds, intervals by Student's t. ";
    out += "*Confirmed*: the interval lies above 0; *opposite*: below; *not seen*: it holds 0.\n";
    for Shown { outcome, warning } in &studies {
        out += &format!(
            "\n{} ({}), on {}: {}\n{warning}",
            outcome.study,
            outcome.scale,
            outcome.dataset,
            made(&outcome.made)
        );
    }
    out
}

/// All studies, each with its heading.
pub fn tables<'a>(studies: impl Iterator<Item = Shown<'a>>) -> String {
    let all: Vec<String> = studies
        .map(|Shown { outcome, warning }| {
            format!("### {} (`{}`, {})\n\n{}{warning}", outcome.title, outcome.study, outcome.scale, whole(outcome))
        })
        .collect();
    if all.is_empty() { NONE.into() } else { all.join("\n") }
}

/// A study: its question, its claims, its cells, and what the paper has.
pub fn whole(outcome: &Outcome) -> String {
    let mut out = format!("{}\n\n", outcome.question);
    if !outcome.claims.is_empty() {
        out += &row(["claim of the paper", "difference", "points of top-1 [95 % interval]", "n", "verdict", "paper"]);
        out += &rule(6, 6);
        for claim in &outcome.claims {
            let n = claim.n.to_string();
            let cells =
                [&claim.text, &claim.difference, &difference(claim), &n, verdict(claim.verdict), &published(claim)];
            out += &row(cells);
        }
        out += "\n";
    }
    if !outcome.conclusions.is_empty() {
        outcome.conclusions.iter().for_each(|conclusion| out += &format!("- {conclusion}\n"));
        out += "\n";
    }
    out += &cells(outcome);
    out += &format!(
        "\nTop-1 in percent on {}, mean ± sample deviation over seeds; base `{}`. {}\n",
        outcome.dataset,
        outcome.base,
        made(&outcome.made)
    );
    for table in &outcome.published {
        out += &of_the_paper(table);
    }
    out
}

/// A row a cell and method, a column an amount of labels.
fn cells(outcome: &Outcome) -> String {
    let mut columns: Vec<LabelAmount> = Vec::new();
    for measure in outcome.cells.iter().flat_map(|cell| &cell.measures) {
        if !columns.contains(&measure.labels) {
            columns.push(measure.labels);
        }
    }
    columns.sort_by(LabelAmount::order);
    let axes: Vec<&str> = outcome.axes.iter().map(|axis| axis.title.as_str()).collect();
    let left = axes.len() + 3;
    let heads = axes.iter().map(|title| (*title).to_string());
    let heads = heads.chain(["method", "parameters", "n"].map(String::from));
    let mut out = row(heads.chain(columns.iter().map(|labels| labels.words())));
    out += &rule(left + columns.len(), left);
    for cell in &outcome.cells {
        for method in methods(cell) {
            let of = |labels| cell.measures.iter().find(|m| m.method == method && m.labels == labels);
            let any = |f: fn(&Measure) -> String| {
                let mut all: Vec<String> = columns.iter().filter_map(|labels| of(*labels).map(f)).collect();
                all.dedup();
                all.join(", ")
            };
            let values = outcome.axes.iter().map(|axis| cell.values.get(&axis.name).cloned().unwrap_or_default());
            let values =
                values.chain([method.to_string(), any(|m| millions(m.params)), any(|m| m.top1.len().to_string())]);
            let accuracies = columns.iter().map(|labels| of(*labels).map_or_else(String::new, |m| of_values(&m.top1)));
            out += &row(values.chain(accuracies));
        }
    }
    out
}

fn methods(cell: &Cell) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for measure in &cell.measures {
        if !found.contains(&measure.method.as_str()) {
            found.push(&measure.method);
        }
    }
    found
}

fn of_the_paper(table: &Published) -> String {
    let mut out = format!("\nPublished, not measured here: {}\n\n", table.title);
    out += &row(&table.columns);
    out += &rule(table.columns.len(), 1);
    table.rows.iter().for_each(|cells| out += &row(cells));
    out
}
