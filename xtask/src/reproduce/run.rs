//! Running jobs, and asking the tool short questions.

use super::crew;
use super::display::Display;
use super::job::{Common, Job};
use crate::stages::TOOL;
use crate::workspace::Binaries;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;

/// Runs the jobs, as many at once as there are lanes.
///
/// # Errors
/// The first failure.
pub fn run_jobs(binaries: &Binaries, common: &Common, jobs: &[Job], logs: &Path) -> Result<()> {
    let lanes = crew::lanes(&common.device, common.at_once, common.threads)?;
    let mut display = Display::new(jobs, lanes.len());
    crew::run(jobs, &lanes, &mut display, |job, lane, watch| {
        let own = Common { device: lane.device.clone(), threads: lane.threads, ..common.clone() };
        job.run(binaries, &own, logs, watch)
    })
}

/// The first of several devices.
pub fn first(devices: &str) -> &str {
    devices.split(',').next().unwrap_or_default().trim()
}

/// A command with overrides, `key=value`.
pub fn with_set<'a>(command: &'a mut Command, set: &[String]) -> &'a mut Command {
    for pair in set {
        command.arg("--set").arg(pair);
    }
    command
}

/// What a short command prints; where it fails, its message is the error.
///
/// # Errors
/// That message.
pub fn output_of(command: &mut Command, what: &str) -> Result<String> {
    let output = command.output().with_context(|| format!("starting {TOOL} for {what}"))?;
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.trim();
    ensure!(output.status.success(), "{}", message.strip_prefix("error: ").unwrap_or(message));
    String::from_utf8(output.stdout).with_context(|| format!("reading {what}"))
}

/// An experiment's file as a table, unchecked.
///
/// # Errors
/// When it cannot be read or is not TOML.
pub fn read(config: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(config).with_context(|| format!("reading {}", config.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", config.display()))
}
