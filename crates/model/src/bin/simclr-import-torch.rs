//! `simclr-import-torch`: weights of torchvision or timm as a checkpoint of this project.
#![forbid(unsafe_code)]

use anyhow::Result;
use clap::Parser;
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{exit_with, say};
use simclr_model::torch::{Options, import};
use std::path::PathBuf;
use std::process::ExitCode;

/// Import a ResNet of torchvision or timm: its weights in a .safetensors file.
///
/// Depth (18, 34, 50, 101, 152, 200), width, stem, squeeze-and-excitation, channels and classes are found from names and
/// shapes; outputs equal PyTorch's. A tensor of unknown meaning is an error. Every stage takes the folder that is written:
/// simclr-pretrain --from DIR, simclr-finetune --from DIR, simclr-eval --checkpoint DIR. There is no projection head in it:
/// pretraining begins a fresh one, and fine-tuning stands on the encoder (finetune.proj_selector = 0).
#[derive(Parser)]
#[command(version, bin_name = "cargo xtask import-torch")]
struct Args {
    /// The weights: a .safetensors file, or hf://OWNER/NAME[@REV][/FILE], such as hf://timm/resnet50.a1_in1k
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The folder that gets model.safetensors and config.json; nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// The network was trained on pictures normalised by ImageNet's mean and deviation, as torchvision and timm do; have its
    /// first layer do that, for pictures here are 0..1
    #[arg(long)]
    normalized: bool,

    /// Side of the images that it was trained on, for the record [default: 32 with a CIFAR stem, 224 otherwise]
    #[arg(long, value_name = "PIXELS", value_parser = cli::size(&bounds::IMAGE_SIZE))]
    image_size: Option<usize>,
}

fn main() -> ExitCode {
    let args = cli::parse::<Args>();
    let options = Options { normalized: args.normalized, image_size: args.image_size };
    let run = || -> Result<()> {
        say(format_args!("{}", import(&args.file, &args.out, options)?));
        Ok(())
    };
    exit_with(run())
}
