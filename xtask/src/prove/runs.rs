//! Trainings: twice the same, killed and resumed, and to an accuracy that is known.

use super::site::{Outcome, Site, bytes};
use crate::layout;
use crate::workspace::root;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// The experiment, and what makes it small enough for an emulated GPU.
const EXPERIMENT: &str = "configs/quickstart.toml";
const SMALL: [&str; 6] = [
    "data.limit=40",
    "data.image_size=16",
    "model.width=0.0625",
    "pretrain.training.batch=4",
    "pretrain.training.warmup={steps=1}",
    "supervised.training.batch=4",
];
/// Steps of pretraining, and steps between its saved states.
const STEPS: [u32; 2] = [60, 20];
const SMALL_STEPS: [u32; 2] = [4, 2];
/// What the supervised baseline reaches with a tenth of the labels: five seeds on processors came to 96.2 to 98.5 %.
const LABELS: &str = "0.1";
const SMALL_LABELS: &str = "1.0";
const ACCURACY: f64 = 0.94;

/// A stage's command that has yet to be told its folder.
struct Run {
    program: &'static str,
    dtype: &'static str,
    options: Vec<String>,
}

impl Run {
    fn pretraining(site: &Site, dtype: &'static str) -> Self {
        let [steps, between] = if site.small { SMALL_STEPS } else { STEPS };
        let options = vec![
            "--set".into(),
            format!("pretrain.training.length={{steps={steps}}}"),
            "--set".into(),
            format!("pretrain.training.checkpoint_every={{steps={between}}}"),
        ];
        Self { program: "simclr-pretrain", dtype, options }
    }

    fn command(&self, site: &Site, folder: &str) -> (std::process::Command, PathBuf) {
        let out = site.limited.place(folder);
        let mut command = site.binaries.command(self.program);
        command.arg("--config").arg(root().join(EXPERIMENT)).arg("--out").arg(&out);
        command.args(["--resume", "--progress", "off", "--device", &site.device, "--dtype", self.dtype]);
        command.args(&self.options);
        if site.small {
            SMALL.iter().for_each(|pair| {
                command.args(["--set", pair]);
            });
        }
        (command, out)
    }

    /// To its end.
    fn run(&self, site: &Site, folder: &str) -> Result<PathBuf> {
        let (mut command, out) = self.command(site, folder);
        site.limited.run(&mut command, folder)?;
        Ok(out)
    }

    /// Until it has saved a state, and a little on; then it is killed. The same command goes on later.
    fn killed(&self, site: &Site, folder: &str) -> Result<bool> {
        let (mut command, out) = self.command(site, folder);
        let mut started = site.limited.start(&mut command, folder)?;
        while !has_state(&out) && !started.ended() && site.limited.left() > 0.0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(20));
        let early = !started.ended();
        started.kill();
        Ok(early && !out.join(layout::RESULT).exists())
    }
}

fn has_state(run: &std::path::Path) -> bool {
    let named = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(layout::STATES))
    };
    std::fs::read_dir(run).is_ok_and(|mut entries| entries.any(named))
}

fn weights(run: PathBuf) -> PathBuf {
    run.join(layout::CHECKPOINT).join(layout::MODEL)
}

fn json_of(run: &std::path::Path) -> Result<Value> {
    serde_json::from_slice(&bytes(&run.join(layout::RESULT))?).context("reading the run's result")
}

/// The same pretraining twice gives the same weights, in f32 and in bf16.
///
/// # Errors
/// When they differ.
pub fn determinism(site: &Site) -> Result<Outcome> {
    for dtype in ["f32", "bf16"] {
        let run = Run::pretraining(site, dtype);
        let [first, again] = [format!("plain-{dtype}"), format!("again-{dtype}")];
        let (first, again) = (run.run(site, &first)?, run.run(site, &again)?);
        ensure!(bytes(&weights(first))? == bytes(&weights(again))?, "two runs in {dtype} gave other weights");
    }
    Ok(Outcome::Passed(json!({ "steps": if site.small { SMALL_STEPS[0] } else { STEPS[0] } })))
}

/// A run that is killed and resumed ends with the weights of one that was not.
///
/// # Errors
/// When it does not.
pub fn resume(site: &Site) -> Result<Outcome> {
    let run = Run::pretraining(site, "f32");
    let early = run.killed(site, "killed")?;
    let resumed = run.run(site, "killed")?;
    // Determinism has left one, if it ran.
    let plain = run.run(site, "plain-f32")?;
    ensure!(bytes(&weights(plain))? == bytes(&weights(resumed))?, "a run that was killed ended with other weights");
    match early {
        true => Ok(Outcome::Passed(json!({ "killed": "after its first saved state" }))),
        false => Ok(Outcome::Missing("the run had ended before it could be killed".into())),
    }
}

/// A classifier learns as well as it does on a processor, in f32 and in bf16.
///
/// # Errors
/// When it does not.
pub fn training(site: &Site) -> Result<Outcome> {
    let mut figures = serde_json::Map::new();
    for dtype in ["f32", "bf16"] {
        let labels = if site.small { SMALL_LABELS } else { LABELS };
        let mut options: Vec<String> = ["--from", "scratch", "--labels", labels].map(String::from).into();
        if site.small {
            options.extend(
                ["--set", "supervised.at=[]", "--set", "supervised.training.length={steps=3}"].map(String::from),
            );
        }
        let run = Run { program: "simclr-finetune", dtype, options }.run(site, &format!("supervised-{dtype}"))?;
        let top1 = json_of(&run)?["top1"].as_f64().context("the run's result has no top1")?;
        ensure!(site.small || top1 >= ACCURACY, "{dtype}: {top1:.4} of the test pictures, not {ACCURACY}");
        figures.insert(format!("top1_{dtype}"), json!(top1));
    }
    Ok(Outcome::Passed(figures.into()))
}
