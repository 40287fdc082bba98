//! `bench`: builds `simclr-bench` and hands its arguments on, or compares it with PyTorch.

mod compare;
mod figures;
mod record;

use crate::workspace::{Binaries, Extras};
use anyhow::{Context, Result, ensure};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
#[command(override_usage = "cargo xtask bench step|augment|op|compare [OPTIONS]")]
enum What {
    /// Steps and augmentation beside PyTorch, in turn; the figures are kept in benches/runs
    Compare(compare::Args),
    /// `step`, `augment` or `op`, then its options, as `simclr-bench` takes them
    #[command(external_subcommand)]
    Measure(Vec<String>),
}

/// Builds and measures; the binary's last line is ours.
///
/// # Errors
/// When the build or the measurement fails.
pub fn run(args: &Args) -> Result<()> {
    let arguments = match &args.what {
        What::Compare(args) => return compare::run(args),
        What::Measure(arguments) => arguments,
    };
    let binaries = Binaries::build(&["simclr-pretrain"], device(arguments), Extras::Without)?;
    let status = binaries.command("simclr-bench").args(arguments).status().context("starting simclr-bench")?;
    ensure!(status.success(), "simclr-bench failed ({status}); its message is above");
    Ok(())
}

/// The value of `--device`, which decides how to build.
fn device(arguments: &[String]) -> &str {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.strip_prefix("--device") {
            Some("") => return rest.next().map_or("cpu", String::as_str),
            Some(value) if value.starts_with('=') => return &value[1..],
            _ => {}
        }
    }
    "cpu"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_is_found_in_both_spellings() {
        let of = |line: &str| device(&line.split(' ').map(String::from).collect::<Vec<_>>()).to_string();
        assert_eq!(of("step --batch 2 --device cuda:1 --steps 3"), "cuda:1");
        assert_eq!(of("step --device=cuda"), "cuda");
        assert_eq!(of("augment --image-size 32"), "cpu");
    }
}
