//! What a study shows: one page for each, which needs nothing but itself, and an index of all.
//!
//! A page is made of an [`Outcome`], which is kept with the code; learning curves are read from the runs, where these are still
//! there. Nothing is computed here that is not told of as a number in the outcome, but for means and deviations.

mod claims;
mod curves;
mod facts;
mod grid;
mod looks;
mod plots;
mod tables;

use crate::outcome::{Outcome, Verdict};
use anyhow::Result;
use simclr_core::readable::duration;
use simclr_core::stages::TOOL;
use simclr_data::source::title;
use simclr_report::html::{document, escape};
use simclr_report::look::Look;
use std::fmt::Write;
use std::path::Path;

/// The name of a study's page, beside which the index stands.
pub fn file(outcome: &Outcome) -> String {
    format!("{}-{}.html", outcome.study, outcome.scale)
}

/// The page of a study. Learning curves are read from the runs below `pool`; where they are gone the page says so, and so it does
/// without `looks` at networks.
///
/// # Errors
/// When what a run logged is there and cannot be read.
pub fn html(outcome: &Outcome, pool: &Path, looks: &[Look]) -> Result<String> {
    let sections = [
        ("answers", "Answers", claims::html(outcome)),
        ("accuracies", "Accuracies", tables::html(outcome)),
        ("plots", "Plots", plots::html(outcome)),
        ("curves", "Learning curves", curves::html(outcome, pool)?),
        ("looks", "A look at networks", looks::html(looks)),
        ("made", "What ran where, for how long", facts::made(outcome)),
        ("configs", "Configurations", facts::differences(outcome)),
    ];
    let mut body = header(outcome);
    body += "<nav aria-label=\"Contents\"><ul class=\"contents\">";
    for (id, heading, _) in &sections {
        // Writing to a string cannot fail.
        let _ = write!(body, "<li><a href=\"#{id}\">{heading}</a></li>");
    }
    body += "</ul></nav>\n</header>\n<main>\n";
    for (id, heading, inner) in &sections {
        let _ = writeln!(body, "<section id=\"{id}\"><h2>{heading}</h2>\n{inner}</section>");
    }
    body += "</main>\n";
    body += &footer();
    Ok(document(&format!("{} · {}", outcome.title, outcome.scale), &body))
}

fn header(outcome: &Outcome) -> String {
    let made = &outcome.made;
    let mut out = format!(
        "<header><h1>{}</h1>\n<p class=\"lead\">{}</p>\n<p class=\"facts\">Study <code>{}</code> at scale <b>{}</b> · {} · {} · \
         {} · {} of computing</p>\n",
        escape(&outcome.title),
        escape(&outcome.question),
        escape(&outcome.study),
        escape(&outcome.scale),
        escape(title(&outcome.dataset, None)),
        escape(&made.hardware),
        escape(&made.date),
        duration(made.seconds)
    );
    out += &incomplete(outcome);
    out
}

/// That runs are missing, where some are.
fn incomplete(outcome: &Outcome) -> String {
    const NAMED: usize = 8;
    let missing = &outcome.missing;
    if missing.is_empty() {
        return String::new();
    }
    let named: Vec<String> = missing.iter().take(NAMED).map(|run| escape(run)).collect();
    let more = match missing.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "<p class=\"note\">The study is not complete. Not finished: {}{more}. What is below is of the others.</p>\n",
        named.join(", ")
    )
}

fn footer() -> String {
    format!(
        "<footer>SimCLRv2 in Rust, {TOOL} {}. Method and published values: Chen et al., Big Self-Supervised Models are Strong \
         Semi-Supervised Learners, NeurIPS 2020.</footer>\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// A page that leads to those of all studies, which stand beside it under their [`file`] names.
///
/// # Errors
/// None now; pages may come to be read from disk.
pub fn index(outcomes: &[Outcome]) -> Result<String> {
    let mut body = String::from(
        "<header><h1>The paper's comparisons, made again</h1>\n<p class=\"lead\">Each study varies some choices of one experiment \
         and compares what comes out with what the paper found on ImageNet.</p>\n",
    );
    let all = || outcomes.iter().flat_map(|outcome| &outcome.claims);
    let count = |verdict| all().filter(|claim| claim.verdict == verdict).count();
    let counts: Vec<String> = [Verdict::Confirmed, Verdict::NotSeen, Verdict::Opposite, Verdict::Open]
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|verdict| format!("{} {}", count(verdict), claims::words(verdict)))
        .collect();
    let _ = writeln!(
        body,
        "<p class=\"facts\">{} studies, {} claims: {}.</p>\n</header>\n<main><ul class=\"studies\">",
        outcomes.len(),
        all().count(),
        counts.join(", ")
    );
    for outcome in outcomes {
        let _ = writeln!(
            body,
            "<li><h2><a href=\"{}\">{}</a></h2>\n<p class=\"facts\">{} · {} · {} · {}</p>\n<p>{}</p>\n{}<ul>",
            escape(&file(outcome)),
            escape(&outcome.title),
            escape(&outcome.scale),
            escape(title(&outcome.dataset, None)),
            grid::seeds(outcome),
            duration(outcome.made.seconds),
            escape(&outcome.question),
            incomplete(outcome)
        );
        for claim in &outcome.claims {
            let _ = writeln!(body, "<li>{} {}</li>", claims::short(claim), escape(&claim.text));
        }
        body += "</ul></li>\n";
    }
    body += "</ul></main>\n";
    body += &footer();
    Ok(document("Studies · SimCLRv2", &body))
}

#[cfg(test)]
mod tests;
