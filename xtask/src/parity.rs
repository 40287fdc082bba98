//! `parity`: runs the golden tests and writes their figures into docs/parity.md.

use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The page, and the lines between which the table stands.
const PAGE: &str = "docs/parity.md";
const MARKS: [&str; 2] = ["<!-- figures: written by `cargo xtask parity` -->", "<!-- end of figures -->"];

/// A part of the method: the test that holds it, and what the names of its comparisons contain.
struct Part {
    test: &'static str,
    contains: &'static str,
    title: &'static str,
    against: &'static str,
}

const fn part(test: &'static str, contains: &'static str, title: &'static str, against: &'static str) -> Part {
    Part { test, contains, title, against }
}

/// Rows of the table in order; a comparison belongs to the first that fits.
const PARTS: &[Part] = &[
    part("networks", " eval.", "Encoders, inference", "stem, each group and pooled features"),
    part("networks", " train.grad.", "Encoders, gradients", "every weight and the image"),
    part("networks", " train.new.", "Encoders, running statistics", "after one step"),
    part("networks", " train.", "Encoders, training mode", "pooled features and a loss on them"),
    part("heads", "", "Projection head and classifier", "the head's output, logits from each of its layers"),
    part("parameter_counts", "", "Parameter counts", "all depths, widths and selective kernels"),
    part("contrastive_loss", "", "NT-Xent", "loss, gradient, similarities, accuracy, entropy"),
    part("contrastive_loss_over_ranks", "", "NT-Xent over ranks", "each rank's loss, the gradient of their mean"),
    part("distillation_loss", "", "Distillation", "loss and gradient by temperature"),
    part("lars", "", "LARS", "weights after each stored step"),
    part("sgd_and_adam", "", "SGD with Nesterov momentum, Adam", "weights after each stored step"),
    part("learning_rates", "", "Learning rate", "warm-up, cosine, both scalings"),
    part("resizing", "bicubic", "Bicubic resize, TF2 and TF1", "crops and sizes, up and down"),
    part("evaluation_views", "", "Evaluation views, TF2 and TF1", "central crop, resize, clip"),
    part("colours", " hue", "Hue", "angles both ways"),
    part("colours", " chain", "Colour operations in turn", "clipped after each"),
    part("colours", "", "Brightness, contrast, saturation, grayscale", "each alone"),
    part("blurs", "", "Gaussian blur", "sizes and sigmas"),
    part("crops_have_the_reference_distribution", "", "Random crops", "quantiles of area, aspect and place"),
    part(
        "views_have_the_reference_distribution",
        "",
        "Random views",
        "quantiles of means and deviations, share of gray",
    ),
    part("pretraining", "grad_norm", "Pretraining trajectory, gradient norms", "all steps, by the stage's own code"),
    part("pretraining", " lr", "Pretraining trajectory, learning rates", "all steps, by the stage's own code"),
    part("pretraining", "", "Pretraining trajectory", "losses, accuracies, final weights and statistics"),
    part("fine_tuning", "grad_norm", "Fine-tuning trajectories, gradient norms", "all steps, by the stage's own code"),
    part("fine_tuning", " lr", "Fine-tuning trajectories, learning rates", "all steps, by the stage's own code"),
    part("fine_tuning", "", "Fine-tuning trajectories", "losses, final weights and statistics"),
    part("freezing", "", "Freezing", "which weights and statistics one step moves"),
    part("imported_weights", "", "TensorFlow import, weights", "TF2 objects, SavedModel, TF1 names"),
    part("imported_outputs", "", "TensorFlow import, outputs", "features, projections and logits"),
];

/// A line of the tests' log.
#[derive(Deserialize)]
struct Comparison {
    test: String,
    name: String,
    count: u64,
    measure: String,
    error: f64,
    tolerance: f64,
}

/// Runs the golden tests and writes the table.
///
/// # Errors
/// When a test fails, a comparison has no row, or a row no comparison.
pub fn run() -> Result<()> {
    let log = std::env::temp_dir().join(format!("simclr-parity-{}.jsonl", std::process::id()));
    let status = workspace::cargo()
        .args(["test", "--package", "simclr-tests", "--test", "golden_*"])
        .env("SIMCLR_PARITY_LOG", &log)
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "the golden tests failed; {PAGE} stays as it is");
    let text = std::fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    std::fs::remove_file(&log).with_context(|| format!("removing {}", log.display()))?;
    let lines: Result<Vec<Comparison>, _> = text.lines().map(serde_json::from_str).collect();
    write(&workspace::root().join(PAGE), &table(&lines.context("the tests' log")?)?)?;
    say!("wrote {PAGE}");
    Ok(())
}

fn write(page: &Path, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
    let parts = text.split_once(MARKS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?.1)));
    let Some((before, after)) = parts else { bail!("{}: the lines {MARKS:?} are missing", page.display()) };
    let text = format!("{before}{}\n\n{table}\n{}{after}", MARKS[0], MARKS[1]);
    std::fs::write(page, text).with_context(|| format!("writing {}", page.display()))
}

/// One row a part, and for each tolerance in it the comparison that came nearest to it.
fn table(log: &[Comparison]) -> Result<String> {
    let mut rows: BTreeMap<usize, Vec<&Comparison>> = BTreeMap::new();
    for c in log {
        let row = PARTS.iter().position(|p| p.test == c.test && c.name.contains(p.contains));
        let row = row.with_context(|| format!("test {} ({}) has no row in xtask/src/parity.rs", c.test, c.name))?;
        rows.entry(row).or_default().push(c);
    }
    let mut out = String::from(
        "| part | compared | comparisons (numbers) | largest error | allowed | where |\n|---|---|---|---|---|---|\n",
    );
    for (i, part) in PARTS.iter().enumerate() {
        let all = rows.get(&i).with_context(|| format!("no comparison of test {} ({:?})", part.test, part.contains))?;
        let share = |c: &Comparison| if c.tolerance > 0.0 { c.error / c.tolerance } else { c.error };
        let worst = all.iter().copied().reduce(|a, b| if share(b) > share(a) { b } else { a }).context("a row")?;
        let numbers: u64 = all.iter().map(|c| c.count).sum();
        let (error, allowed) = match worst.tolerance {
            0.0 => ("none".into(), "none".into()),
            allowed => (format!("{:.1e} {}", worst.error, worst.measure), format!("{allowed:.0e}")),
        };
        let (count, name) = (all.len(), &worst.name);
        writeln!(out, "| {} | {} | {count} ({numbers}) | {error} | {allowed} | `{name}` |", part.title, part.against)?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(test: &str, name: &str, error: f64) -> Comparison {
        let (test, name) = (test.into(), name.into());
        Comparison { test, name, count: 3, measure: "absolute".into(), error, tolerance: 1e-4 }
    }

    fn all() -> Vec<Comparison> {
        PARTS.iter().map(|p| comparison(p.test, &format!("file{}", p.contains), 1e-6)).collect()
    }

    #[test]
    fn the_worst_comparison_stands_in_the_row() {
        let mut log = all();
        log.push(comparison("blurs", "far", 5e-5));
        let table = table(&log).unwrap_or_default();
        assert!(table.contains("2 (6) | 5.0e-5 absolute | 1e-4 | `far` |"), "{table}");
        assert_eq!(table.lines().count(), PARTS.len() + 2);
    }

    #[test]
    fn parts_and_comparisons_must_match() {
        let mut log = all();
        log.remove(0);
        assert!(table(&log).is_err_and(|e| e.to_string().contains("networks")));
        log = all();
        log.push(comparison("new_test", "x", 0.0));
        assert!(table(&log).is_err_and(|e| e.to_string().contains("new_test")));
    }
}
