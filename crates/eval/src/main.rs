//! `simclr-eval`: what a checkpoint is worth, and the report of an experiment.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use simclr_core::cli::exit_with;
use simclr_core::config::Config;
use simclr_eval::{EvalArgs, plan, report};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: simclr_ops::alloc::Recycling = simclr_ops::alloc::Recycling::new();

/// Evaluate a checkpoint: its own classifier, a linear probe (--linear), nearest neighbours (--knn).
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Args {
    #[command(flatten)]
    eval: Option<EvalArgs>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
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
    exit_with(run(Args::parse()))
}

fn run(args: Args) -> Result<()> {
    match args.command {
        Some(Command::Plan(e)) => println!("{}", plan::json(&Config::load(&e.config, &e.set)?, &e.run)?),
        Some(Command::Report(e)) => {
            println!("{}", report::write(&Config::load(&e.config, &e.set)?, &e.run)?.display());
        }
        None => {
            let eval = args.eval.context("what to evaluate is missing; see simclr-eval --help")?;
            simclr_eval::run(&eval, &eval.common.prepare()?)?;
        }
    }
    Ok(())
}
