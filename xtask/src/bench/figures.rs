//! What both sides of a comparison measured.

use anyhow::{Context, Result};
use serde_json::Value;

/// What one task came to, a figure a round.
pub struct Figures {
    /// As the table calls the task.
    pub task: String,
    /// Numbers that it computes with.
    pub dtype: String,
    /// Our images a second.
    pub ours: Vec<f64>,
    /// PyTorch's.
    pub theirs: Vec<f64>,
    /// Our most memory in MiB, where it is measured.
    pub our_memory: Vec<f64>,
    /// PyTorch's.
    pub their_memory: Vec<f64>,
}

impl Figures {
    /// None yet.
    pub fn of(task: &str, dtype: &str) -> Self {
        let (task, dtype) = (task.to_string(), dtype.to_string());
        Self { task, dtype, ours: vec![], theirs: vec![], our_memory: vec![], their_memory: vec![] }
    }

    /// Adds those of a round, from the last lines that the two sides printed.
    ///
    /// # Errors
    /// When one lacks its speed.
    pub fn add(&mut self, ours: &Value, theirs: &Value) -> Result<()> {
        let rate = |line: &Value| line["images_per_s"].as_f64().context("a benchmark printed no images_per_s");
        self.ours.push(rate(ours)?);
        self.theirs.push(rate(theirs)?);
        self.our_memory.extend(ours["peak_rss_mib"].as_f64());
        self.their_memory.extend(theirs["peak_rss_mib"].as_f64());
        Ok(())
    }
}
