//! The results as a table for the terminal.

use crate::readable::{columns, duration, percent};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
struct Results {
    rows: Vec<Row>,
}

/// An amount of labels: a share, or so many a class.
#[derive(Deserialize)]
#[serde(untagged)]
enum Labels {
    Share(f64),
    Words(String),
}

impl Labels {
    fn words(&self) -> String {
        match self {
            Self::Share(share) => percent(*share),
            Self::Words(words) => words.replace('-', " "),
        }
    }
}

#[derive(Deserialize)]
struct Row {
    name: String,
    labels: Labels,
    top1: f64,
    top5: f64,
    params: u64,
    seconds: f64,
    n: usize,
    top1_std: Option<f64>,
}

/// Reads `results.json` and lays it out.
///
/// # Errors
/// When the file is missing or is not that of a report.
pub fn render(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let results: Results =
        serde_json::from_str(&text).with_context(|| format!("{} is not a report's", path.display()))?;
    let head = ["", "labels", "top-1", "top-5", "parameters", "time"].map(String::from);
    let cells: Vec<_> = std::iter::once(head).chain(results.rows.iter().map(cells)).collect();
    Ok(columns(&cells))
}

fn cells(row: &Row) -> [String; 6] {
    let spread = row.top1_std.map_or_else(String::new, |d| format!(" ± {:.2} (n = {})", 100.0 * d, row.n));
    [
        row.name.clone(),
        row.labels.words(),
        format!("{:.2} %{spread}", 100.0 * row.top1),
        format!("{:.2} %", 100.0 * row.top5),
        format!("{:.2} M", row.params as f64 / 1e6),
        duration(row.seconds),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_line_up() {
        let path = std::env::temp_dir().join(format!("simclr-table-{}.json", std::process::id()));
        let json = r#"{"config": "x", "rows": [
            {"name":"finetuned","labels":0.01,"top1":0.5,"top5":0.9,"params":1500000,"seconds":5,"n":3,"top1_std":0.01},
            {"name":"knn","labels":1,"top1":0.25,"top5":1,"params":1500000,"seconds":65,"n":1,"top1_std":null}]}"#;
        std::fs::write(&path, json).unwrap();
        let table = render(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[1], "finetuned     1 %  50.00 % ± 1.00 (n = 3)   90.00 %      1.50 M      5.0 s");
        assert_eq!(lines[1].chars().count(), lines[2].chars().count());
    }
}
