//! `import-tf` and `import-torch`: build the program of that name and hand its arguments on.

use crate::workspace::{Extras, hand_on};
use anyhow::Result;

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
    hand_on("simclr-model", "simclr-import-tf", Extras::Without, &args.arguments)
}

/// The weights, `--out DIR`, and everything else that `simclr-import-torch` takes; `--help` is its own, too.
#[derive(clap::Args)]
#[command(disable_help_flag = true, override_usage = "cargo xtask import-torch FILE --out DIR")]
pub struct TorchArgs {
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and imports; the hub's client is built in only where the weights are there.
///
/// # Errors
/// When the build or the import fails.
pub fn run_torch(args: &TorchArgs) -> Result<()> {
    let hub = args.arguments.iter().any(|argument| argument.starts_with("hf:"));
    let extras = if hub { Extras::With } else { Extras::Without };
    hand_on("simclr-model", "simclr-import-torch", extras, &args.arguments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, Command, FromArgMatches};

    #[test]
    fn everything_is_handed_on() {
        let command = Args::augment_args(Command::new("import-tf"));
        for line in ["model.ckpt-1 --out there --proj-selector -1", "--help", "--out there model.ckpt-1"] {
            let given = ["import-tf"].into_iter().chain(line.split(' '));
            let parsed = command.clone().try_get_matches_from(given).and_then(|m| Args::from_arg_matches(&m));
            assert_eq!(parsed.map(|args| args.arguments.join(" ")).ok().as_deref(), Some(line));
        }
    }
}
