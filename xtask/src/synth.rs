//! `synth-imagenet`: builds `simclr-synth-imagenet` and hands its arguments on.

use crate::workspace::{Extras, hand_on};
use anyhow::Result;

/// Everything that `simclr-synth-imagenet` takes; `--help` is its own, too.
#[derive(clap::Args)]
#[command(disable_help_flag = true, override_usage = "cargo xtask synth-imagenet --out DIR [--images N] [--classes N]")]
pub struct Args {
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and writes.
///
/// # Errors
/// When the build or the writing fails.
pub fn run(args: &Args) -> Result<()> {
    hand_on("simclr-data-tools", "simclr-synth-imagenet", Extras::With, &args.arguments)
}
