//! `import-tf`: builds `simclr-import-tf` and hands its arguments on.

use crate::workspace::Binaries;
use anyhow::{Context, Result, ensure};

/// The checkpoint, `--out DIR`, and everything else that `simclr-import-tf` takes; `--help` is its own, too.
#[derive(clap::Args)]
#[command(disable_help_flag = true, override_usage = "cargo xtask import-tf PREFIX --out DIR")]
pub struct Args {
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and imports.
///
/// # Errors
/// When the build or the import fails.
pub fn run(args: &Args) -> Result<()> {
    let binaries = Binaries::build(&["simclr-model"], "cpu")?;
    let mut command = binaries.command("simclr-import-tf");
    let status = command.args(&args.arguments).status().context("starting simclr-import-tf")?;
    ensure!(status.success(), "nothing was imported; the reason is above");
    Ok(())
}
