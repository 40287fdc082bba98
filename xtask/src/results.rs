//! `results`: tables of README.md and docs/results.md, by `simclr-results`, which reads what was measured.

use crate::machine;
use crate::workspace::{Extras, hand_on, root};
use anyhow::Result;

/// Arguments of `results`.
#[derive(clap::Args)]
pub struct Args {
    /// Nothing, or `add RUN...`, as `simclr-results` takes them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Where runs are added: what a file says of this machine and this tree, unless it is given.
fn facts() -> [(&'static str, String); 3] {
    [
        ("--commit", machine::short_commit()),
        ("--hardware", format!("{}, {} cores", machine::processor(), machine::threads())),
        ("--date", machine::today()),
    ]
}

/// Builds the program and hands the arguments on.
///
/// # Errors
/// When the build or the program fails.
pub fn run(args: &Args) -> Result<()> {
    let mut arguments = args.arguments.clone();
    if arguments.first().is_some_and(|first| first == "add") {
        for (name, value) in facts() {
            let given = |argument: &String| argument == name || argument.starts_with(&format!("{name}="));
            if !arguments.iter().any(given) {
                arguments.extend([name.to_string(), value]);
            }
        }
    }
    arguments.extend(["--root".into(), root().display().to_string()]);
    hand_on("simclr-study", "simclr-results", Extras::Without, &arguments)
}
