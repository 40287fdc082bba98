//! How fast this machine pretrains: a few steps of the real loader and network.

use anyhow::{Context, Result};
use candle_core::Device;
use serde_json::{Map, json};
use simclr_core::cli::ProgressMode;
use simclr_core::config::Config;
use simclr_core::run::{Opened, Run, RunOptions, layout};
use simclr_core::train::{TrainOptions, train};
use simclr_core::{bounds, disk};
use simclr_ops::Group;
use simclr_stage::Setup;

/// Steps that are measured, and those before them, which are not.
const STEPS: (u64, u64) = (4, 2);

/// Images (of two views each) that pretraining learns from in a second, over a few steps as `config` says. Leaves nothing behind.
///
/// # Errors
/// When the steps fail, such as for a lack of memory.
pub fn images_per_s(config: &Config, device: &Device) -> Result<f64> {
    let folder = tempfile::tempdir().context("a folder for a few steps of training")?;
    let run = RunOptions {
        out: folder.path(),
        stage: "measure",
        config,
        identity: json!({}),
        inputs: Vec::new(),
        extra: Map::new(),
        resume: false,
        extend: None,
        group: &Group::default(),
    };
    let (Opened::Fresh(mut run) | Opened::Resume(mut run)) = Run::open(run)? else {
        anyhow::bail!("a fresh folder held a finished run")
    };
    let setup = Setup::open(config, device, config.seed, |_| Ok(()))?;
    let mut plan = crate::plan(config, setup, None)?;
    let options = TrainOptions {
        training: &config.pretrain.training,
        examples: plan.examples,
        prefetch: config.data.prefetch,
        progress: ProgressMode::Off,
        title: "measuring".into(),
        group: &Group::default(),
        stop_after: Some(STEPS.0 + STEPS.1),
    };
    train(&mut plan, &options, &mut run).context("a few steps of training, to measure")?;
    let log =
        disk::read_small_text(&folder.path().join(layout::METRICS), bounds::SMALL_FILE).context("the measurements")?;
    let rate = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["images_per_s"].as_f64();
    let rates: Vec<f64> = log.lines().filter_map(rate).skip(STEPS.1 as usize).collect();
    // The mean of times, not of rates: what a long run adds up.
    let seconds: f64 = rates.iter().map(|rate| 1.0 / rate).sum();
    anyhow::ensure!(seconds > 0.0, "no step was measured");
    Ok(rates.len() as f64 / seconds)
}
