//! `simclr-results`: writes the tables of README.md and docs/results.md; `cargo xtask results` starts it.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::{Parser, Subcommand};
use simclr_core::cli::{self, exit_with, say};
use simclr_study::results::{self, Where};
use std::path::PathBuf;
use std::process::ExitCode;

/// Write the tables of README.md and docs/results.md from results/*.json and benches/runs.
#[derive(Parser)]
#[command(version, name = "cargo xtask results", bin_name = "cargo xtask results")]
struct Args {
    /// The repository
    #[arg(long, value_name = "DIR", default_value = ".", global = true, hide = true)]
    root: PathBuf,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Make results/NAME.json from the folders of finished runs of one experiment, or of one study, then write the tables
    Add(Add),
}

#[derive(clap::Args)]
struct Add {
    /// Folders of finished runs: runs/quickstart, runs/experiments/head-small
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// What `simclr-eval propagate` without a network left: a row of its own
    #[arg(long, value_name = "DIR")]
    propagated: Option<PathBuf>,
    /// The name of the file [default: the experiment's]
    #[arg(long)]
    name: Option<String>,
    /// The commit of the code that ran [default: that of this tree]
    #[arg(long, default_value = "unknown", hide_default_value = true)]
    commit: String,
    /// What computed [default: this machine]
    #[arg(long, default_value = "unknown", hide_default_value = true)]
    hardware: String,
    /// When [default: today]
    #[arg(long, default_value = "unknown", hide_default_value = true)]
    date: String,
}

fn run(args: Args) -> Result<()> {
    if let Some(What::Add(Add { runs, propagated, name, commit, hardware, date })) = args.what {
        let place = Where { commit, hardware, date };
        let (path, holds) = results::add(&args.root, name.as_deref(), &runs, propagated.as_deref(), &place)?;
        say(format_args!("{}: {holds}", path.display()));
    }
    for page in results::write(&args.root)? {
        say(format_args!("wrote {}", page.display()));
    }
    for complaint in results::complaints(&args.root)? {
        eprintln!("warning: {complaint}");
    }
    Ok(())
}

fn main() -> ExitCode {
    exit_with(run(cli::parse::<Args>()))
}
