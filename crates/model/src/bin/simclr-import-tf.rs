//! `simclr-import-tf`: a TensorFlow checkpoint as one of this project.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Parser;
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{exit_with, say};
use simclr_model::tensorflow::{Options, import};
use std::path::PathBuf;
use std::process::ExitCode;

/// Import a TensorFlow checkpoint of SimCLR: what google-research/simclr trained or published.
///
/// It reads TF1 checkpoints (base_model/conv2d_3/kernel, ...), TF2 object checkpoints (ckpt-1) and SavedModels. Depth,
/// width, selective kernels, squeeze-and-excitation, stem, projection head and classifier are found from names and
/// shapes. Optimiser state is left aside; a variable of unknown meaning is an error. Every stage takes the folder that is
/// written: simclr-finetune --from DIR, simclr-distill --teacher DIR, simclr-eval --checkpoint DIR.
///
/// Published checkpoints were made with TF1's resize: evaluate them with --set eval.resize=tf1.
#[derive(Parser)]
#[command(version, bin_name = "cargo xtask import-tf")]
struct Args {
    /// What stands before .index and .data-00000-of-00001, such as r152_3x_sk1/model.ckpt-250228; or the folder of a
    /// SavedModel, or of a single checkpoint
    #[arg(value_name = "PREFIX")]
    prefix: PathBuf,

    /// The folder that gets model.safetensors and config.json; nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// The head layer that the classifier stands on (0 the encoder, k the k-th layer, -1 the last), where neither widths
    /// nor optimiser state tell; the paper's fine-tuned networks: 1 [default: 0, where nothing tells]
    #[arg(long, value_name = "K", allow_hyphen_values = true)]
    proj_selector: Option<i64>,

    /// Side of the images that it was trained on, for the record [default: 32 with a CIFAR stem, 224 otherwise]
    #[arg(long, value_name = "PIXELS", value_parser = cli::size(&bounds::IMAGE_SIZE))]
    image_size: Option<usize>,
}

fn run(args: &Args) -> Result<()> {
    let options = Options { proj_selector: args.proj_selector, image_size: args.image_size };
    say(format_args!("{}", import(&args.prefix, &args.out, options)?));
    Ok(())
}

fn main() -> ExitCode {
    exit_with(run(&cli::parse()))
}
