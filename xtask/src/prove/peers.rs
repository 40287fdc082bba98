//! The speed of a training step beside PyTorch's, eager and compiled.

use super::site::{Outcome, Site};
use crate::workspace::root;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::Command;

/// Steps that are measured.
const STEPS: &str = "20";
/// Seconds without which PyTorch is not asked to compile.
const COMPILING: f64 = 60.0;

/// ResNet-50 in bf16: pictures of `side` pixels, `batch` of them a step, two views each.
///
/// # Errors
/// When our side fails. Of PyTorch's side it is told why it is missing.
pub fn step(site: &Site, side: u32, batch: u32) -> Result<Outcome> {
    let (depth, side, batch) = if site.small { (18, 16, 2) } else { (50, side, batch) };
    let width = if site.small { "0.0625" } else { "1" };
    let (depth, side, batch) = (depth.to_string(), side.to_string(), batch.to_string());
    let steps = if site.small { "1" } else { STEPS };
    let options = ["--depth", &depth, "--width", width, "--image-size", &side, "--batch", &batch, "--steps", steps];
    let options = [&options[..], &["--dtype", "bf16"]].concat();
    let ours = site.step(&options)?;
    let rate = |line: &Value| line["images_per_s"].as_f64();
    let mut figures = json!({ "images_per_s": rate(&ours), "step_ms": ours["step_ms"], "ours": ours });
    for (name, compile) in [("eager", false), ("compiled", true)] {
        let theirs = if compile && site.limited.left() < COMPILING {
            Err("no time was left".into())
        } else {
            peer(site, &options, compile).map_err(|e| format!("{e:#}"))
        };
        match theirs {
            Ok(line) => {
                let ratio = rate(&ours).zip(rate(&line)).map(|(ours, theirs)| ours / theirs);
                figures[format!("against_{name}")] = json!(ratio);
                figures[name] = line;
            }
            Err(reason) => figures[name] = json!(reason),
        }
    }
    Ok(Outcome::Passed(figures))
}

fn peer(site: &Site, options: &[&str], compile: bool) -> Result<Value> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command.arg(root().join("benches/peers/step.py")).args(["--device", "cuda"]).args(options);
    command.args(compile.then_some("--compile"));
    site.last_line(&mut command, if compile { "compiled" } else { "eager" })
}
