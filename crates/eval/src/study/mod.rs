//! `study`: the runs of a grid of experiments, and what they came to.

mod args;
mod estimate;
mod pages;
mod text;

use anyhow::{Context, Result};
use args::StudyArgs;
use clap::{Args, Subcommand};
use simclr_core::bounds;
use simclr_core::cli::{self, compute_with, say};
use simclr_core::config::{Config, LabelAmount};
use simclr_core::disk;
use simclr_core::run::{NUMERICS, layout};
use simclr_study::outcome::Made;
use simclr_study::{Outcome, Plan};

/// What is done with a study.
#[derive(Clone, Debug, Subcommand)]
pub enum StudyCommand {
    /// Write the experiments of its cells, and print its runs as JSON
    Plan(StudyArgs),
    /// Tell what each cell takes, here and on GPUs: time and memory; nothing is run
    Estimate(estimate::EstimateArgs),
    /// Print how its cells stand beside the best, as JSON
    Standing(StandingArgs),
    /// Write results.json and index.html of what has finished, and print its tables
    Report(ReportArgs),
}

/// By what cells are compared.
#[derive(Clone, Debug, Args)]
pub struct StandingArgs {
    #[command(flatten)]
    study: StudyArgs,

    /// The method whose accuracy counts, such as `finetuned`
    #[arg(long)]
    method: String,

    /// On how many labels
    #[arg(long, value_name = "AMOUNT")]
    labels: LabelAmount,
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

    /// Threads to look at networks with [default: one for each core]
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::THREADS))]
    threads: Option<usize>,

    /// The key that the cells vary: the report says which value to take, by the accuracy of METHOD on AMOUNT, and takes cells that have
    /// fewer seeds than others as they are
    #[arg(long, value_names = ["KEY", "METHOD", "AMOUNT"], num_args = 3)]
    ablation: Option<Vec<String>>,
}

/// Does what was asked.
///
/// # Errors
/// When the study is not valid, or a file cannot be read or written.
pub fn study(command: &StudyCommand) -> Result<()> {
    match command {
        StudyCommand::Plan(args) => {
            let plan = args.plan(None)?;
            let folder = args.out.join(layout::CELLS);
            plan.write_configs(&folder)?;
            say(serde_json::to_string_pretty(&plan.runs(&folder)).context("writing the plan")?);
            Ok(())
        }
        StudyCommand::Estimate(args) => estimate::estimate(args),
        StudyCommand::Standing(args) => {
            let outcome = gathered(&args.study.plan(None)?, unmade())?;
            let places = simclr_study::standing(&outcome, &args.method, args.labels)?;
            say(serde_json::to_string(&places).context("writing the standing")?);
            Ok(())
        }
        StudyCommand::Report(args) => report(args),
    }
}

/// Of a report that is written nowhere.
fn unmade() -> Made {
    let unknown = || "unknown".to_string();
    let (commit, hardware, simd, date) = (unknown(), unknown(), unknown(), unknown());
    Made { commit, numerics: NUMERICS, hardware, simd, date, seconds: 0.0, runs: 0, at_once: 1 }
}

fn gathered(plan: &Plan, made: Made) -> Result<Outcome> {
    simclr_study::gather(plan, &Config::load(&plan.study.base, &[])?, made)
}

fn report(args: &ReportArgs) -> Result<()> {
    compute_with(args.threads)?;
    let plan = args.study.plan(None)?;
    // A look at a network asks for the experiment of its cell.
    plan.write_configs(&args.study.out.join(layout::CELLS))?;
    let (commit, hardware, date) = (args.commit.clone(), args.hardware.clone(), args.date.clone());
    let mut outcome = gathered(&plan, Made { commit, hardware, date, at_once: args.at_once, ..unmade() })?;
    if let Some([key, method, labels]) = args.ablation.as_deref() {
        let places = simclr_study::standing(&outcome, method, labels.parse().context("--ablation")?)?;
        outcome.conclusions = simclr_study::conclusions(&places, key);
        outcome.missing.clear();
    }
    let out = &args.study.out;
    std::fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let json = serde_json::to_value(&outcome).context("writing the results")?;
    disk::write_json(&out.join(layout::RESULTS), &json)?;
    let page = pages::write(&outcome, &args.study)?;
    say(text::render(&outcome).trim_end());
    say(format_args!("page: {}", page.display()));
    Ok(())
}
