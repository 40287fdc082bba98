//! The command line of `simclr-eval`.

use crate::classify::{ClassifyArgs, classify};
use crate::embed::{EmbedArgs, embed};
use crate::evaluate::{self, EvalArgs};
use crate::experiment::Experiment;
use crate::forecast::{EstimateArgs, estimate};
use crate::keys::{self, KeysArgs};
use crate::look::{LookArgs, look};
use crate::propagate::{PropagateArgs, propagate};
use crate::review::{ReviewArgs, review};
use crate::study::{StudyCommand, study};
use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use simclr_core::cli::{exit_with, init_log, parse_from, say};
use simclr_publish::PublishArgs;
use simclr_report::inspect::{self, InspectArgs};
use simclr_report::plan;
use std::ffi::OsString;
use std::process::ExitCode;

/// Evaluate a checkpoint: its own classifier, a linear probe (--linear), nearest neighbours (--knn).
///
/// More commands, each with a --help of its own: `simclr-eval embed` and `simclr-eval classify` apply a checkpoint to
/// pictures, `simclr-eval publish` puts it on the Hugging Face hub; `simclr-eval inspect-data`, `simclr-eval
/// plan` and `simclr-eval report` serve whole experiments, and `simclr-eval keys` tells what an experiment file may hold.
#[derive(Parser)]
#[command(version, after_long_help = simclr_core::config::keys_help("eval"))]
struct Evaluate {
    #[command(flatten)]
    args: EvalArgs,
}

/// What else can be done with a checkpoint or a whole experiment.
#[derive(Parser)]
#[command(version)]
enum More {
    /// Write the features that a checkpoint gives to pictures
    ///
    /// A .safetensors holds the tensor `features` [N, D] and, in its metadata, `files`, the list of the pictures; a .npy the
    /// same array, with the list in NAME.npy.json beside it; a .csv or .jsonl holds a line a picture.
    Embed(EmbedArgs),
    /// Write the likeliest classes of pictures, by the checkpoint's own classifier
    ///
    /// Classes have the names that they had in the network's training. Where the network was calibrated, probabilities are
    /// those that held-out pictures bear out. A .safetensors or .npy holds the probabilities of all classes [N, C].
    Classify(ClassifyArgs),
    /// Put a checkpoint on the Hugging Face hub, with a card made from its run's own files
    ///
    /// Sends model.safetensors, config.json, the card, the experiment and the network in PyTorch in one commit; files
    /// that the hub has already are left out. The token is HF_TOKEN, or that of `hf auth login`.
    Publish(PublishArgs),
    /// Tell what the images of an experiment are: counts, classes, sizes, damaged files, the loader's speed
    #[command(after_help = simclr_data::source::help())]
    InspectData(InspectArgs),
    /// Classify the pictures of an experiment by its best network, and tell which to label next
    ///
    /// Takes the best finished network on the largest set of labels and fits its probabilities to the held-out pictures;
    /// writes predictions.csv and next-to-label.csv into the experiment's folder, and what the report shows: a gallery,
    /// doubtful pictures, near duplicates, outliers, mistakes by class. To be run before `report`.
    Review(ReviewArgs),
    /// Look at a network through the test images: mistakes by class, maps of its features, nearest neighbours
    ///
    /// Writes look.json, which the page of a study shows.
    Look(LookArgs),
    /// Tell what the jobs of an experiment take on GPUs: time, memory, disk, traffic; nothing is run
    Estimate(EstimateArgs),
    /// Print the keys of an experiment file: what each may be, its default, what it means
    Keys(KeysArgs),
    /// Classify by labels that spread to the nearest images: a baseline on pixels, or on a network's features
    ///
    /// Zhou et al. 2004 over a graph of nearest neighbours among the training images; the nearest of these vote on each test image.
    Propagate(PropagateArgs),
    /// Plan a study, a grid of experiments, or write what it came to
    #[command(subcommand)]
    Study(StudyCommand),
    /// Print the jobs of an experiment as JSON
    Plan(Experiment),
    /// Write report/index.html and report/results.json of an experiment's folder
    Report(Experiment),
}

/// Reads a command line, the program's name first, and does what it says: an evaluation on all ranks, all else in this process.
/// Gives the exit code of `main`.
pub fn main(line: Vec<OsString>) -> ExitCode {
    if is_named(&line) {
        return exit_with(run(line));
    }
    let Evaluate { args } = parse_from(line);
    simclr_ranks::launch(&args.common, |common, config| evaluate::run(&EvalArgs { common, ..args.clone() }, config))
}

/// Reads a command line, the program's name first, and does what it says in this process.
///
/// # Errors
/// What the command failed of. A command line that is none, and a question for help, end the process.
pub fn run(line: Vec<OsString>) -> Result<()> {
    if is_named(&line) { more(parse_from::<More>(line)) } else { evaluate(&parse_from::<Evaluate>(line).args) }
}

/// Evaluation has no subcommand: its command line begins with an option.
fn is_named(line: &[OsString]) -> bool {
    line.get(1).and_then(|word| word.to_str()).is_some_and(More::has_subcommand)
}

fn evaluate(args: &EvalArgs) -> Result<()> {
    simclr_ranks::run(&args.common, &args.common.prepare()?, |common, config| {
        evaluate::run(&EvalArgs { common, ..args.clone() }, config)
    })
}

fn more(command: More) -> Result<()> {
    match command {
        More::Embed(args) => {
            init_log();
            embed(&args)?;
        }
        More::Classify(args) => {
            init_log();
            classify(&args)?;
        }
        More::Publish(args) => {
            init_log();
            simclr_publish::run(&args)?;
        }
        More::Review(args) => {
            init_log();
            review(&args)?;
        }
        More::Look(args) => {
            init_log();
            look(&args)?;
        }
        More::Estimate(args) => {
            init_log();
            estimate(&args)?;
        }
        More::Propagate(args) => {
            init_log();
            propagate(&args)?;
        }
        More::Study(command) => study(&command)?,
        More::Keys(args) => keys::print(&args)?,
        More::InspectData(args) => inspect::run(&args)?,
        More::Plan(e) => say(format_args!(
            "{}",
            plan::json(&e.load()?, &e.run).with_context(|| format!("in {}", e.config.display()))?
        )),
        More::Report(e) => say(format_args!("{}", simclr_report::write(&e.load()?, &e.run)?.display())),
    }
    Ok(())
}
