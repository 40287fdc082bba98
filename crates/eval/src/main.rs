//! `simclr-eval`: what a checkpoint is worth, and the report of an experiment.

use anyhow::Result;
use clap::Parser;
use simclr_core::cli::exit_with;
use simclr_core::config::Config;
use simclr_eval::{EvalArgs, inspect, plan, report};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: simclr_ops::alloc::Recycling = simclr_ops::alloc::Recycling::new();

/// Evaluate a checkpoint: its own classifier, a linear probe (--linear), nearest neighbours (--knn).
///
/// Three more commands serve whole experiments: `simclr-eval inspect-data` looks at the images of one, `simclr-eval plan`
/// prints its jobs as JSON, `simclr-eval report` writes its report; each has a --help of its own.
#[derive(Parser)]
#[command(version)]
struct Evaluate {
    #[command(flatten)]
    args: EvalArgs,
}

/// What serves a whole experiment.
#[derive(Parser)]
#[command(version)]
enum Whole {
    /// Tell what the images of an experiment are: counts, classes, sizes, damaged files, the loader's speed
    InspectData(inspect::InspectArgs),
    /// Print the jobs of an experiment as JSON
    Plan(Experiment),
    /// Write report/index.html and report/results.json of an experiment's folder
    Report(Experiment),
}

#[derive(clap::Args)]
struct Experiment {
    /// The experiment: a TOML file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The folder of all its runs
    #[arg(long, visible_alias = "out", value_name = "DIR")]
    run: PathBuf,
    /// Change one key of the experiment; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

fn main() -> ExitCode {
    let whole =
        std::env::args().nth(1).is_some_and(|first| ["inspect-data", "plan", "report"].contains(&first.as_str()));
    exit_with(if whole { experiment(Whole::parse()) } else { evaluate(&Evaluate::parse().args) })
}

fn evaluate(args: &EvalArgs) -> Result<()> {
    simclr_eval::run(args, &args.common.prepare()?)
}

fn experiment(command: Whole) -> Result<()> {
    match command {
        Whole::InspectData(args) => inspect::run(&args)?,
        Whole::Plan(e) => println!("{}", plan::json(&Config::load(&e.config, &e.set)?, &e.run)?),
        Whole::Report(e) => println!("{}", report::write(&Config::load(&e.config, &e.set)?, &e.run)?.display()),
    }
    Ok(())
}
