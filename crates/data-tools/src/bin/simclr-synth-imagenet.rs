//! `simclr-synth-imagenet`: a synthetic ImageNet as folders, tar shards and parquet files.
#![forbid(unsafe_code)]

use clap::Parser;
use indicatif::ProgressBar;
use simclr_core::cli::{compute_with, exit_with, say};
use simclr_data_tools::synth::{Size, write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Write a synthetic ImageNet: the same JPEGs as OUT/folder, OUT/tar and OUT/parquet.
///
/// Names, layout and sizes of the files are those of ImageNet; the pictures are waves and grain. A twentieth as many
/// images more make the test split. OUT/1percent.txt names a hundredth of the training images. 20 000 images take 5 GB.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Training images
    #[arg(long, default_value_t = 20_000)]
    images: usize,
    /// Classes
    #[arg(long, default_value_t = 1000)]
    classes: usize,
    /// Height of the pictures
    #[arg(long, default_value_t = 375)]
    height: usize,
    /// Width of the pictures
    #[arg(long, default_value_t = 500)]
    width: usize,
    /// Images of a tar shard and of a parquet file
    #[arg(long, default_value_t = 1000)]
    shard: usize,
    /// Threads to draw with [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let size =
        Size { images: args.images, classes: args.classes, pixels: (args.height, args.width), shard: args.shard };
    let bar = ProgressBar::new((args.images + args.images.div_ceil(20)) as u64);
    exit_with(compute_with(args.threads).and_then(|()| {
        write(&args.out, size, &|done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        say(format_args!("{}", args.out.display()));
        Ok(())
    }))
}
