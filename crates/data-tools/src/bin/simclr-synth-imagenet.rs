//! `simclr-synth-imagenet`: a synthetic ImageNet as folders, tar shards and parquet files.
#![forbid(unsafe_code)]

use clap::Parser;
use indicatif::ProgressBar;
use simclr_core::bounds;
use simclr_core::cli;
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
    #[arg(long, default_value_t = 20_000, value_parser = cli::size(&bounds::COUNT))]
    images: usize,
    /// Classes
    #[arg(long, default_value_t = 1000, value_parser = cli::size(&bounds::COUNT))]
    classes: usize,
    /// Height of the pictures
    #[arg(long, default_value_t = 375, value_parser = cli::size(&bounds::IMAGE_SIZE))]
    height: usize,
    /// Width of the pictures
    #[arg(long, default_value_t = 500, value_parser = cli::size(&bounds::IMAGE_SIZE))]
    width: usize,
    /// Images of a tar shard and of a parquet file
    #[arg(long, default_value_t = 1000, value_parser = cli::size(&bounds::COUNT))]
    shard: usize,
    /// Threads to draw with [default: one for each core]
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::THREADS))]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let args = cli::parse::<Args>();
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
