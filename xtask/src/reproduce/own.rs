//! A person's own pictures: the experiment that is made for them, and what becomes of results when labels change.

use crate::layout;
use crate::workspace::{Binaries, Extras};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// The program that makes experiments.
pub const RECIPE: &str = "simclr-recipe";

/// Where pictures and labels are, and how long a run may take.
#[derive(clap::Args, Clone, Default)]
pub struct Own {
    /// Your pictures, in place of CONFIG: one folder a class, or all in one with --labels; an experiment is made for them
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub images: Option<PathBuf>,
    /// A table of labels (CSV, TSV: a column of files, one of labels); or how many labels to use: 10-per-class, 0.1, all; may
    /// be repeated
    #[arg(long, value_name = "FILE_OR_AMOUNT", requires = "images")]
    pub labels: Vec<String>,
    /// A folder of more pictures, without labels
    #[arg(long, value_name = "DIR", requires = "images")]
    pub unlabeled: Option<PathBuf>,
    /// Pictures to measure on: a folder, or a share of the labeled ones to hold out [default: the usual folders, else 0.2]
    #[arg(long, value_name = "DIR_OR_SHARE", requires = "images")]
    pub test: Option<String>,
    /// Channels of each picture, where they are neither colour nor gray
    #[arg(long, value_name = "N", requires = "images")]
    pub channels: Option<usize>,
    /// About how long all may take [default: 1]
    #[arg(long, value_name = "HOURS", requires = "images")]
    pub hours: Option<f64>,
    /// Measure by K runs, each of which holds out another part of the labels, instead of by one: for few labels
    #[arg(long, value_name = "K", requires = "images")]
    pub folds: Option<usize>,
}

impl Own {
    /// Whether shards of parquet are among the pictures.
    pub fn extras(&self) -> Extras {
        let of = |dir: &Path| {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|end| end == "parquet"))
        };
        if self.images.as_deref().is_some_and(of) { Extras::With } else { Extras::Without }
    }

    /// The run's folder where none is named: called after that of the pictures.
    pub fn out(&self) -> PathBuf {
        let images = self.images.clone().unwrap_or_default();
        let path = std::path::absolute(&images).unwrap_or(images);
        Path::new("runs").join(path.file_name().unwrap_or("pictures".as_ref()))
    }

    /// The table of labels, where one is named, and the amounts of labels as an override of the experiment.
    fn tables_and_amounts(&self) -> Result<(Option<&str>, Option<String>)> {
        let (tables, amounts): (Vec<&String>, Vec<&String>) =
            self.labels.iter().partition(|text| Path::new(text).is_file());
        ensure!(tables.len() < 2, "--labels names two tables, {} and {}: join them", tables[0], tables[1]);
        for amount in &amounts {
            let count = amount.strip_suffix("-per-class").is_some_and(|count| count.parse::<usize>().is_ok());
            ensure!(
                count || *amount == "all" || amount.parse::<f64>().is_ok(),
                "--labels {amount}: neither a file nor an amount such as 10-per-class, 0.1 or all"
            );
        }
        let quoted: Vec<String> = amounts.iter().map(|amount| format!("\"{amount}\"")).collect();
        let set = (!quoted.is_empty()).then(|| format!("reproduce.labels=[{}]", quoted.join(", ")));
        Ok((tables.first().map(|table| table.as_str()), set))
    }

    /// What the amounts of labels change of the experiment.
    ///
    /// # Errors
    /// When one is neither a file nor an amount.
    pub fn set(&self) -> Result<Option<String>> {
        Ok(self.tables_and_amounts()?.1)
    }

    /// Makes the experiment in `file`, or makes it anew for the labels that there are now. Gives whether labels changed.
    ///
    /// # Errors
    /// When the pictures cannot be read; the message is the program's.
    pub fn make(&self, binaries: &Binaries, file: &Path, device: &str, threads: Option<usize>) -> Result<bool> {
        let (table, _) = self.tables_and_amounts()?;
        let images = self.images.as_deref().context("--images DIR")?;
        let mut command = binaries.command(RECIPE);
        command.arg("--images").arg(images).arg("--out").arg(file).args(["--device", device]);
        if let Some(table) = table {
            command.args(["--labels", table]);
        }
        if let Some(dir) = &self.unlabeled {
            command.arg("--unlabeled").arg(dir);
        }
        if let Some(test) = &self.test {
            command.args(["--test", test]);
        }
        if let Some(channels) = self.channels {
            command.args(["--channels", &channels.to_string()]);
        }
        let runs = self.folds.unwrap_or(1).max(1) as f64;
        command.args(["--hours", &(self.hours.unwrap_or(1.0) / runs).to_string()]);
        if let Some(threads) = threads {
            command.args(["--threads", &threads.to_string()]);
        }
        let before = labels(file);
        let status = command.status().with_context(|| format!("starting {RECIPE}"))?;
        ensure!(status.success(), "no experiment was made; the reason is above");
        Ok(before.is_some_and(|before| Some(before) != labels(file)))
    }
}

/// What the experiment's facts say of its labels.
fn labels(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file.with_file_name(layout::RECIPE)).ok()?;
    let facts: serde_json::Value = serde_json::from_str(&text).ok()?;
    // The same labels from another table are another run of what learns from them.
    Some(format!("{} {}", facts["labels"], facts["place"]["labels"]))
}

/// Moves all that follows from labels into `EXPERIMENT/earlier/N`: what is made next has other ones. Pretraining stays.
///
/// # Errors
/// When a folder cannot be moved.
pub fn set_results_aside(out: &Path) -> Result<()> {
    let entries = std::fs::read_dir(out).with_context(|| format!("reading {}", out.display()))?;
    let kept = [layout::OWN_EXPERIMENT, layout::RECIPE, layout::LOGS, layout::EARLIER, "pretrain"];
    let mut moved = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {}", out.display()))?;
        if !kept.iter().any(|name| entry.file_name() == *name) {
            moved.push(entry.path());
        }
    }
    if moved.is_empty() {
        return Ok(());
    }
    let earlier = out.join(layout::EARLIER);
    let free = (1..).map(|i| earlier.join(i.to_string())).find(|path| !path.exists()).context("no free name")?;
    std::fs::create_dir_all(&free).with_context(|| format!("creating {}", free.display()))?;
    for path in moved {
        let to = free.join(path.file_name().unwrap_or_default());
        std::fs::rename(&path, &to).with_context(|| format!("moving {} to {}", path.display(), to.display()))?;
    }
    say!("labels changed: pretraining stays, what followed from the earlier ones is now {}", free.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn labels_are_a_table_or_an_amount() {
        let file = std::env::temp_dir().join(format!("simclr-labels-{}.csv", std::process::id()));
        std::fs::write(&file, "file,label\n").unwrap();
        let table = file.display().to_string();
        let own = |labels: &[&str]| Own { labels: labels.iter().map(ToString::to_string).collect(), ..Own::default() };
        assert_eq!(own(&[&table]).tables_and_amounts().unwrap(), (Some(table.as_str()), None));
        let set = Some("reproduce.labels=[\"10-per-class\", \"all\"]".to_string());
        assert_eq!(own(&["10-per-class", &table, "all"]).tables_and_amounts().unwrap(), (Some(table.as_str()), set));
        assert!(own(&["labels.csv"]).set().unwrap_err().to_string().contains("neither a file nor an amount"));
        assert!(own(&[&table, &table]).set().unwrap_err().to_string().contains("two tables"));
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn other_labels_keep_pretraining_and_lose_nothing() {
        let out = std::env::temp_dir().join(format!("simclr-own-{}", std::process::id()));
        for round in 1..=2 {
            for dir in ["pretrain", "eval", "labels-1/subset-0"] {
                std::fs::create_dir_all(out.join(dir)).unwrap();
            }
            std::fs::write(out.join("predictions.csv"), round.to_string()).unwrap();
            set_results_aside(&out).unwrap();
            assert!(out.join("pretrain").is_dir() && !out.join("eval").exists());
            let kept = out.join(layout::EARLIER).join(round.to_string());
            assert_eq!(std::fs::read_to_string(kept.join("predictions.csv")).unwrap(), round.to_string());
            assert!(kept.join("labels-1/subset-0").is_dir());
        }
        set_results_aside(&out).unwrap();
        assert!(!out.join(layout::EARLIER).join("3").exists(), "nothing to move, nothing made");
        std::fs::remove_dir_all(out).unwrap();
    }
}
