//! `ci`: what a change must pass, step by step.

use crate::{reproduce, workspace};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::time::Instant;

/// Runs every step and stops at the first that fails.
///
/// # Errors
/// The failing step.
pub fn run() -> Result<()> {
    let start = Instant::now();
    step("format", || cargo(&["fmt", "--all", "--check"]))?;
    step("lints", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("tests", || cargo(&["test", "--workspace"]))?;
    step("a tiny experiment", experiment)?;
    println!("\nall passed in {}", reproduce::duration(start.elapsed().as_secs_f64()));
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n=== {name} ===");
    let start = Instant::now();
    work().with_context(|| format!("step `{name}`"))?;
    println!("=== {name}: passed in {} ===", reproduce::duration(start.elapsed().as_secs_f64()));
    Ok(())
}

fn cargo(args: &[&str]) -> Result<()> {
    let status = workspace::cargo().args(args).status().context("starting cargo")?;
    ensure!(status.success(), "cargo {} failed", args.join(" "));
    Ok(())
}

/// Every stage of a small experiment, from images to the report. The folder stays where it fails, to be looked at.
fn experiment() -> Result<()> {
    let out = std::env::temp_dir().join(format!("simclr-ci-{}", std::process::id()));
    let args = reproduce::Args::new(PathBuf::from("configs/smoke.toml"), out.clone());
    let report = reproduce::run(&args)?;
    for name in ["index.html", "results.json"] {
        let path = report.join(name);
        ensure!(std::fs::metadata(&path).is_ok_and(|m| m.len() > 100), "no report at {}", path.display());
    }
    std::fs::remove_dir_all(&out).with_context(|| format!("removing {}", out.display()))
}
