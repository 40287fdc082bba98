//! `simclr-finetune`: step two of SimCLRv2, and the supervised baseline.
#![forbid(unsafe_code)]

use clap::Parser;
use simclr_finetune::FinetuneArgs;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: simclr_alloc::Recycling = simclr_alloc::Recycling::new();

/// Fine-tune a pretrained encoder on a few labels (SimCLRv2, step two), or train the supervised baseline.
///
/// The classifier stands on a layer of the projection head (finetune.proj_selector), which is fine-tuned with the
/// encoder. The labeled images are a class-balanced random subset that depends on dataset, fraction and seed alone; the
/// run folder keeps their list in labels.json.
#[derive(Parser)]
#[command(version, after_long_help = simclr_core::config::keys_help("finetune"))]
struct Args {
    #[command(flatten)]
    args: FinetuneArgs,
}

fn main() -> ExitCode {
    let Args { args } = simclr_core::cli::parse();
    simclr_ranks::launch(&args.common, |common, config| {
        simclr_finetune::run(&FinetuneArgs { common, ..args.clone() }, config)
    })
}
