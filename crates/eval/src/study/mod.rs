//! `study`: the runs of a grid of experiments, and what they came to.

mod text;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use simclr_core::cli::say;
use simclr_core::config::Config;
use simclr_core::disk;
use simclr_core::run::{NUMERICS, layout};
use simclr_study::outcome::Made;
use simclr_study::{Choice, Plan, Study};
use std::path::PathBuf;

/// What is done with a study.
#[derive(Clone, Debug, Subcommand)]
pub enum StudyCommand {
    /// Write the experiments of its cells, and print its runs as JSON
    Plan(StudyArgs),
    /// Write results.json and index.html of what has finished, and print its tables
    Report(ReportArgs),
}

/// A study, and where its runs are.
#[derive(Clone, Debug, Args)]
pub struct StudyArgs {
    /// The study: a TOML file
    #[arg(long, value_name = "FILE")]
    pub study: PathBuf,

    /// One of its scales
    #[arg(long, default_value = "small")]
    pub scale: String,

    /// The folder of the runs, which all studies share
    #[arg(long, value_name = "DIR", default_value = layout::POOL)]
    pub pool: PathBuf,

    /// The folder of the study's own files
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Change one key of every cell; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Only these cells
    #[arg(long, value_name = "CELL,CELL", value_delimiter = ',')]
    pub cells: Option<Vec<String>>,

    /// These seeds instead of the study's
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub seeds: Option<Vec<u64>>,
}

/// What a report says of how it was made.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    study: StudyArgs,

    /// The commit of the code
    #[arg(long, default_value = "unknown")]
    commit: String,

    /// What the runs were computed on
    #[arg(long, default_value = "unknown")]
    hardware: String,

    /// The day
    #[arg(long, default_value = "unknown")]
    date: String,

    /// How many runs computed at the same time
    #[arg(long, default_value_t = 1)]
    at_once: usize,
}

impl StudyArgs {
    fn plan(&self) -> Result<Plan> {
        let study = Study::load(&self.study, &self.scale)?;
        let choice = Choice { set: self.set.clone(), cells: self.cells.clone(), seeds: self.seeds.clone() };
        Plan::new(study, &choice, &self.pool)
    }
}

/// Does what was asked.
///
/// # Errors
/// When the study is not valid, or a file cannot be read or written.
pub fn study(command: &StudyCommand) -> Result<()> {
    match command {
        StudyCommand::Plan(args) => {
            let plan = args.plan()?;
            let folder = args.out.join(layout::CELLS);
            plan.write_configs(&folder)?;
            say(serde_json::to_string_pretty(&plan.runs(&folder)).context("writing the plan")?);
            Ok(())
        }
        StudyCommand::Report(args) => report(args),
    }
}

fn report(args: &ReportArgs) -> Result<()> {
    let plan = args.study.plan()?;
    let base = Config::load(&plan.study.base, &[])?;
    let made = Made {
        commit: args.commit.clone(),
        numerics: NUMERICS,
        hardware: args.hardware.clone(),
        simd: String::new(),
        date: args.date.clone(),
        seconds: 0.0,
        runs: 0,
        at_once: args.at_once,
    };
    let outcome = simclr_study::gather(&plan, &base, made)?;
    let out = &args.study.out;
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let json = serde_json::to_value(&outcome).context("writing the results")?;
    disk::write_json(&out.join(layout::RESULTS), &json)?;
    say(text::render(&outcome).trim_end());
    Ok(())
}
