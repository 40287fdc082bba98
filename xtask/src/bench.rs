//! `bench`: builds `simclr-bench` and hands its arguments on.

use crate::workspace::Binaries;
use anyhow::{Context, Result, ensure};

/// What to measure, and everything after it, as `simclr-bench` takes it.
#[derive(clap::Args)]
pub struct Args {
    /// `step` or `augment`, then its options
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds and measures; the binary's last line is ours.
///
/// # Errors
/// When the build or the measurement fails.
pub fn run(args: &Args) -> Result<()> {
    let binaries = Binaries::build(&["simclr-pretrain"], device(&args.arguments))?;
    let status = binaries.command("simclr-bench").args(&args.arguments).status().context("starting simclr-bench")?;
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
