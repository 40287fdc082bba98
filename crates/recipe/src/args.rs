//! The command line.

use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::DeviceChoice;
use simclr_core::keys::Range;
use std::path::PathBuf;

/// Hours to train for: a year at most.
const HOURS: Range = Range::above(0.0, 8784.0);

/// Options of `simclr-recipe`.
#[derive(Clone, Debug, clap::Args)]
pub struct RecipeArgs {
    /// Folder of the pictures: one folder a class, or all in one with --labels; or of tar shards or parquet files
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,

    /// A table (CSV, TSV) with a column of files and one of labels; pictures that it does not name have none
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// A folder of more pictures, without labels
    #[arg(long, value_name = "DIR")]
    pub unlabeled: Option<PathBuf>,

    /// Pictures to measure on: a folder, or a share of the labeled ones that is held out [default: the usual folders, else 0.2]
    #[arg(long, value_name = "DIR_OR_SHARE")]
    pub test: Option<String>,

    /// Channels of each picture, where they are neither colour nor gray: up to 16, as arrays and TIFF files have them
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::CHANNELS))]
    pub channels: Option<usize>,

    /// About how long all stages may take together
    #[arg(long, value_name = "HOURS", default_value_t = 1.0, value_parser = cli::number(HOURS))]
    pub hours: f64,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,

    /// Threads to compute with [default: one for each core]
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::THREADS))]
    pub threads: Option<usize>,

    /// Everything random follows from it
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,

    /// The experiment that is written, a TOML file; what it was made from is kept beside it, in recipe.json
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}
