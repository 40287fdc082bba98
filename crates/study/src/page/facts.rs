//! What ran where for how long, and where each cell's experiment differs from the base.

use super::grid;
use crate::outcome::Outcome;
use simclr_core::readable::{count, duration};
use simclr_report::html::{escape, scroll};
use std::fmt::Write;

/// The machine, the code, the time.
pub fn made(outcome: &Outcome) -> String {
    let made = &outcome.made;
    let mut out = String::from("<dl class=\"made\">\n");
    let at_once = match made.at_once {
        0 | 1 => "one after another".into(),
        n => format!("{n} at a time"),
    };
    for (what, is) in [
        ("Hardware", escape(&made.hardware)),
        ("Vector units", escape(&made.simd)),
        ("Commit", format!("<code>{}</code>", escape(&made.commit))),
        ("Revision of numbers", made.numerics.to_string()),
        ("Day", escape(&made.date)),
        ("Runs", format!("{} runs of stages, each once however many cells share it, {at_once}", made.runs)),
        ("Time", format!("{} of all runs together", duration(made.seconds))),
        ("Base", format!("<code>{}</code>", escape(&outcome.base))),
    ] {
        let _ = writeln!(out, "<dt>{what}</dt><dd>{is}</dd>");
    }
    out += "</dl>\n";
    let axes = grid::varied(outcome);
    let mut table = String::from(
        "<table class=\"results\"><caption><span>Wall time of one run, the mean over seeds; work of all runs that a cell needs, as the share of the first cell's</span></caption>\n<thead><tr><th scope=\"col\">Cell\
         </th><th scope=\"col\">Method</th><th scope=\"col\">Labels</th><th scope=\"col\">Parameters</th><th scope=\"col\">Time\
         </th><th scope=\"col\">Work of the cell</th></tr></thead>\n<tbody>\n",
    );
    for cell in &outcome.cells {
        let name = if axes.is_empty() { cell.id.clone() } else { grid::name(cell, &axes) };
        for measure in &cell.measures {
            let _ = writeln!(
                table,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td></tr>",
                escape(&name),
                escape(&grid::title(&measure.method)),
                measure.labels.words().replace(" of the labels", ""),
                count(measure.params),
                duration(measure.seconds),
                cell.cost
            );
        }
    }
    table += "</tbody></table>";
    let _ =
        writeln!(out, "<details><summary>Each cell's runs</summary>\n{}</details>", scroll("Time of each run", &table));
    out
}

/// A row a cell, a column for each key that some cell has otherwise than the base.
pub fn differences(outcome: &Outcome) -> String {
    let mut keys: Vec<(&String, &String)> = Vec::new();
    for [key, base, _] in outcome.cells.iter().flat_map(|cell| &cell.differs) {
        if !keys.iter().any(|(known, _)| *known == key) {
            keys.push((key, base));
        }
    }
    let base = escape(&outcome.base);
    if keys.is_empty() {
        return format!("<p>Every cell is the base, <code>{base}</code>, as it stands.</p>\n");
    }
    let mut out = String::from(
        "<table class=\"results\"><caption><span>Keys in which some cell differs from the base; a dot where a cell has the base's \
         value</span></caption>\n<thead><tr><th scope=\"col\">Cell</th>",
    );
    for (key, _) in &keys {
        let _ = write!(out, "<th scope=\"col\"><code>{}</code></th>", escape(key).replace('.', ".<wbr>"));
    }
    out += "</tr></thead>\n<tbody>\n<tr><th scope=\"row\">the base</th>";
    for (_, value) in &keys {
        let _ = write!(out, "<td><code>{}</code></td>", escape(value));
    }
    out += "</tr>\n";
    let axes = grid::varied(outcome);
    for cell in &outcome.cells {
        let name = if axes.is_empty() { cell.id.clone() } else { grid::name(cell, &axes) };
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", escape(&name));
        for (key, _) in &keys {
            let own = cell.differs.iter().find(|[other, ..]| other == *key);
            out += &match own {
                Some([_, _, value]) => format!("<td class=\"differs\"><code>{}</code></td>", escape(value)),
                None => "<td class=\"same-as\">·</td>".into(),
            };
        }
        out += "</tr>\n";
    }
    out += "</tbody></table>";
    format!("<p>All else is as in <code>{base}</code>.</p>\n{}", scroll("Configurations", &out))
}
