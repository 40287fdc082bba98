//! What the parts of a proof work with, and how they end.

use super::limited::Limited;
use crate::workspace::Binaries;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// How a part went.
pub enum Outcome {
    /// As it should, with figures.
    Passed(Value),
    /// It needs something that is not here.
    Missing(String),
}

/// What parts work with.
pub struct Site {
    /// The stages and `simclr-bench`.
    pub binaries: Binaries,
    /// What `--device` names.
    pub device: String,
    /// In sizes for an emulated GPU.
    pub small: bool,
    /// What starts programs.
    pub limited: Limited,
}

impl Site {
    /// What `simclr-bench step` with these options says in its last line.
    pub fn step(&self, options: &[&str]) -> Result<Value> {
        let mut command = self.binaries.command("simclr-bench");
        command.args(["step", "--device", &self.device]).args(options);
        self.last_line(&mut command, "bench")
    }

    /// The JSON of a command's last line.
    pub fn last_line(&self, command: &mut Command, log: &str) -> Result<Value> {
        let text = self.limited.run(command, log)?;
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| format!("its last line is no JSON: {line}"))
    }
}

/// The whole of a file, for comparisons.
pub fn bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}
