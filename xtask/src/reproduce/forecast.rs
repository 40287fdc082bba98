//! `reproduce --dry-run`: what an experiment would take on GPUs.

use super::{Args, extras, output_of, read, with_set};
use crate::stages::TOOL;
use crate::workspace::{self, Binaries, Extras};
use anyhow::{Result, ensure};
use std::path::PathBuf;

/// Whether to tell what a run takes, in its place.
#[derive(clap::Args, Clone, Default)]
pub struct Forecast {
    /// Run nothing: tell the jobs, and what each takes on GPUs in time, memory, disk and traffic
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: training images, where the dataset is not here to be counted (ImageNet has 1281167)
    #[arg(long, value_name = "N", requires = "dry_run")]
    train_images: Option<usize>,
    /// With --dry-run: numbers of GPUs [default: 1,8,32]
    #[arg(long, value_name = "N,N", requires = "dry_run")]
    gpus: Option<String>,
}

/// Prints what the experiment takes, and gives the folder that its runs would have.
///
/// # Errors
/// When the build fails, or the experiment cannot be estimated.
pub fn run(args: &Args) -> Result<PathBuf> {
    ensure!(
        args.own.images.is_none(),
        "--dry-run with --images: an experiment for your own pictures is made by measuring them; write it by `cargo xtask new \
         --images DIR`, then name its file"
    );
    let (config, forecast) = (workspace::find(&args.config)?, &args.forecast);
    let out = args.folder(&config)?;
    let extras = if extras::reason(&read(&config)?, &args.set).is_some() { Extras::With } else { Extras::Without };
    let binaries = Binaries::build(&[TOOL], "cpu", extras)?;
    let mut command = binaries.command(TOOL);
    command.arg("estimate").arg("--config").arg(&config).arg("--out").arg(&out);
    if let Some(images) = forecast.train_images {
        command.args(["--images", &images.to_string()]);
    }
    if let Some(gpus) = &forecast.gpus {
        command.args(["--gpus", gpus]);
    }
    print!("{}", output_of(with_set(&mut command, &args.set), "the estimate")?);
    Ok(out)
}
