//! `metrics.jsonl`: the course of training, a line a measurement, none of them twice and none missing.

use super::layout::METRICS;
use crate::disk;
use anyhow::{Context, Result};
use serde_json::json;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// How each line begins.
const STEP: &[u8] = br#"{"step":"#;

/// The file, open to be added to.
pub struct Metrics {
    file: File,
    path: PathBuf,
}

impl Metrics {
    /// That of a run, which may be there already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(METRICS);
        let file = disk::append(&path)?;
        Ok(Self { file, path })
    }

    /// Adds a line. A value that is not finite is written as null.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut line = format!("{{\"step\":{step}");
        for (name, value) in values {
            line += &format!(",{}:{}", json!(name), json!(value));
        }
        line += "}\n";
        disk::add_to(&self.path, &mut self.file, line.as_bytes())
    }

    /// Waits until the disk has all lines.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Cuts off the lines of steps past `step`, and a last one that a crash cut short. What remains is not touched, however long
    /// it is.
    ///
    /// # Errors
    /// When the file cannot be read or shortened.
    pub fn rewind(&mut self, step: u64) -> Result<()> {
        let inner = || -> Result<()> {
            let kept = kept(BufReader::new(disk::open(&self.path)?), step)?;
            if kept < self.file.metadata()?.len() {
                // One that is open for adding may not be shortened everywhere.
                File::options().write(true).open(&self.path)?.set_len(kept)?;
            }
            Ok(())
        };
        inner().with_context(|| format!("cannot shorten {}", self.path.display()))
    }
}

/// The length of what is kept: lines come in the order of their steps.
fn kept(mut file: impl BufRead, step: u64) -> std::io::Result<u64> {
    let (mut kept, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = file.read_until(b'\n', &mut line)?;
        if read == 0 || !line.ends_with(b"\n") || step_of(&line).is_some_and(|of| of > step) {
            return Ok(kept);
        }
        kept += read as u64;
    }
}

fn step_of(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(STEP)?;
    let end = digits.iter().position(|b| !b.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_comes_later_and_what_was_cut_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut metrics = Metrics::open(dir.path()).unwrap();
        let text = || std::fs::read_to_string(dir.path().join(METRICS)).unwrap();
        for step in [1, 2, 2, 10] {
            metrics.add(step, &[("loss", 0.5), ("none", f64::NAN)]).unwrap();
        }
        let whole = text();
        assert!(whole.starts_with("{\"step\":1,\"loss\":0.5,\"none\":null}\n"), "{whole}");
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        for (step, left) in [(10, 4), (9, 3), (2, 3), (1, 1), (0, 0)] {
            std::fs::write(dir.path().join(METRICS), &whole).unwrap();
            metrics.rewind(step).unwrap();
            assert_eq!(text(), lines[..left].concat(), "{step}");
        }
        // A crash within a line, wherever it was.
        for cut in 0..lines[3].len() {
            std::fs::write(dir.path().join(METRICS), lines[..3].concat() + &lines[3][..cut]).unwrap();
            metrics.rewind(10).unwrap();
            assert_eq!(text(), lines[..3].concat(), "{cut}");
        }
        metrics.add(3, &[]).unwrap();
        metrics.sync().unwrap();
        assert_eq!(text(), lines[..3].concat() + "{\"step\":3}\n", "it goes on where it was cut");
    }
}
