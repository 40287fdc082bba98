//! `simclr-distill`: step three of SimCLRv2.
#![forbid(unsafe_code)]

use clap::Parser;
use simclr_distill::DistillArgs;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: simclr_alloc::Recycling = simclr_alloc::Recycling::new();

/// Distil a fine-tuned teacher into a student on unlabeled images (SimCLRv2, step three).
///
/// The student is described by a table [distill.NAME]: of the teacher's own shape (self-distillation) or smaller. It
/// learns the teacher's probabilities for random crops of all training images; labels may be mixed in.
#[derive(Parser)]
#[command(version, after_long_help = simclr_core::config::keys_help("distill.NAME"))]
struct Args {
    #[command(flatten)]
    args: DistillArgs,
}

fn main() -> ExitCode {
    let Args { args } = simclr_core::cli::parse();
    simclr_ranks::launch(&args.common, |common, config| {
        simclr_distill::run(&DistillArgs { common, ..args.clone() }, config)
    })
}
