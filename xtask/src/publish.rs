//! `publish`: builds `simclr-eval` and hands the arguments on to its `publish`.

use crate::stages::TOOL;
use crate::workspace::{Binaries, Extras};
use anyhow::{Context, Result, ensure};

/// The run or checkpoint, `--repo OWNER/NAME`, and everything else that `simclr-eval publish` takes; `--help` is its own.
#[derive(clap::Args)]
#[command(disable_help_flag = true, override_usage = "cargo xtask publish RUN_OR_CHECKPOINT --repo OWNER/NAME")]
pub struct Args {
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and publishes.
///
/// # Errors
/// When the build fails, or the hub does not take the checkpoint.
pub fn run(args: &Args) -> Result<()> {
    let binaries = Binaries::build(&[TOOL], "cpu", Extras::With)?;
    let mut command = binaries.command(TOOL);
    let status = command.arg("publish").args(&args.arguments).status().with_context(|| format!("starting {TOOL}"))?;
    ensure!(status.success(), "nothing was published; the reason is above");
    Ok(())
}
