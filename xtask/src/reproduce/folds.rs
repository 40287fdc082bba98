//! Mean and deviation over the runs of `--folds`.

use crate::layout;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Results {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    labels: serde_json::Value,
    top1: f64,
}

/// One method over all folds.
#[derive(Serialize)]
struct Over {
    name: String,
    labels: serde_json::Value,
    top1: f64,
    /// Sample standard deviation.
    top1_std: Option<f64>,
    top1_each: Vec<f64>,
}

/// Where the run of a fold lies.
pub fn folder(out: &Path, fold: usize) -> PathBuf {
    out.join(format!("fold-{fold}"))
}

/// Reads the results of all folds, writes `folds.json` into `out`, and lays them out for the terminal.
///
/// # Errors
/// When results are missing.
pub fn gather(out: &Path, folds: usize) -> Result<String> {
    let mut all: Vec<Over> = Vec::new();
    for fold in 0..folds {
        let path = folder(out, fold).join(layout::REPORT).join(layout::RESULTS);
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let results: Results =
            serde_json::from_str(&text).with_context(|| format!("{} is not a report's", path.display()))?;
        for Row { name, labels, top1 } in results.rows {
            match all.iter_mut().find(|over| over.name == name && over.labels == labels) {
                Some(over) => over.top1_each.push(top1),
                None => all.push(Over { name, labels, top1: 0.0, top1_std: None, top1_each: vec![top1] }),
            }
        }
    }
    let mut out_text = String::new();
    for over in &mut all {
        (over.top1, over.top1_std) = mean(&over.top1_each);
        let spread = over.top1_std.map_or_else(String::new, |d| format!(" ± {:.2}", 100.0 * d));
        out_text +=
            &format!("{:<20} {:>6.2} %{spread} ({} folds)\n", over.name, 100.0 * over.top1, over.top1_each.len());
    }
    let path = out.join(layout::FOLDS);
    let text = serde_json::to_string_pretty(&all).context("the results of all folds")?;
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(out_text)
}

/// Mean and sample standard deviation.
fn mean(of: &[f64]) -> (f64, Option<f64>) {
    let n = of.len() as f64;
    let mean = of.iter().sum::<f64>() / n;
    let squares: f64 = of.iter().map(|x| (x - mean).powi(2)).sum();
    (mean, (of.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn folds_are_averaged_by_method() {
        let out = std::env::temp_dir().join(format!("simclr-folds-{}", std::process::id()));
        for (fold, top1) in [0.5, 0.7].into_iter().enumerate() {
            let report = folder(&out, fold).join(layout::REPORT);
            std::fs::create_dir_all(&report).unwrap();
            let json = format!("{{\"rows\":[{{\"name\":\"finetuned\",\"labels\":1,\"top1\":{top1}}}]}}");
            std::fs::write(report.join(layout::RESULTS), json).unwrap();
        }
        let text = gather(&out, 2).unwrap();
        assert!(text.contains("60.00 % ± 14.14 (2 folds)"), "{text}");
        assert!(gather(&out, 3).unwrap_err().to_string().contains("fold-2"));
        std::fs::remove_dir_all(out).unwrap();
    }
}
