//! Options that all stages share, and what follows from them before the first computation.

use super::device::DeviceChoice;
use super::log::init_log;
use super::parse::size;
use super::progress::ProgressMode;
use crate::bounds;
use crate::config::{Config, Dtype};
use anyhow::{Context, Error, Result, bail};
use clap::ValueEnum;
use simclr_ops::Group;
use simclr_ops::simd::{Unit, chosen_unit};
use std::path::PathBuf;

/// Options of every stage.
#[derive(Clone, Debug, clap::Args)]
pub struct CommonArgs {
    /// The experiment: a TOML file such as configs/quickstart.toml
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// The run folder that is written: metrics, checkpoint, result. A finished run of the same experiment is kept
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Go on with an unfinished run in --out, from its last saved state
    #[arg(long)]
    pub resume: bool,

    /// Train a finished run in --out further, to the longer length that the experiment has now: on from its last state, by
    /// the schedule of the new length, without another warm-up. What it was is kept in DIR/before-extend-STEP
    #[arg(long)]
    pub extend: bool,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,

    /// How feature maps are stored and multiplied [default: the experiment's `dtype`, f32 where it names none]
    #[arg(long, value_name = "DTYPE", value_enum)]
    pub dtype: Option<Dtype>,

    /// Change one key of the experiment, for every amount of labels, such as --set pretrain.temperature=0.5; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Threads to compute with [default: one for each core]; results do not depend on it
    #[arg(long, value_name = "N", value_parser = size(&bounds::THREADS))]
    pub threads: Option<usize>,

    /// How progress is shown
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub progress: ProgressMode,

    /// Compute each batch on so many ranks, each with its part: threads of this process, with a GPU each where it computes on
    /// GPUs. Under mpirun, srun or torchrun they are processes, and their number is known
    #[arg(long, value_name = "N", value_parser = size(&bounds::RANKS))]
    pub ranks: Option<usize>,

    /// The ranks that this one computes with.
    #[arg(skip)]
    pub group: Group,
}

impl CommonArgs {
    /// Starts the thread pool and the log, and reads the experiment.
    ///
    /// # Errors
    /// When an option or the experiment is not valid.
    pub fn prepare(&self) -> Result<Config> {
        compute_with(self.threads)?;
        init_log();
        tracing::info!("processor: {} threads, vectors of {}", threads(), vector_unit());
        let dtype = self.dtype.and_then(|d| Some(format!("dtype={}", d.to_possible_value()?.get_name())));
        let set: Vec<String> = self.set.iter().cloned().chain(dtype).collect();
        Config::load(&self.config, &set)
    }
}

/// Settles what the processor computes with: the vector unit that the environment asks for, and how many threads. Call it
/// before the first computation.
///
/// # Errors
/// For 0 threads or a unit that is not here, or when computing has begun already.
pub fn compute_with(threads: Option<usize>) -> Result<()> {
    chosen_unit().map_err(Error::msg)?;
    match threads {
        None => Ok(()),
        Some(0) => bail!("--threads 0: must be at least 1"),
        Some(n) => rayon::ThreadPoolBuilder::new().num_threads(n).build_global().context("--threads"),
    }
}

/// What results call the vector unit: `avx512`, `avx2`, `neon` or `portable`.
pub fn vector_unit() -> &'static str {
    chosen_unit().map_or("none", Unit::name)
}

/// How many threads compute.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        common: CommonArgs,
    }

    #[test]
    fn options() {
        Cli::command().debug_assert();
        let line = "x --config c.toml --out d --device cuda:1 --set a=1 --set b=2 --progress json --threads 3";
        let cli = Cli::parse_from(line.split(' ')).common;
        assert_eq!((cli.device, cli.progress, cli.threads), (DeviceChoice::Cuda(1), ProgressMode::Json, Some(3)));
        assert_eq!((cli.set.len(), cli.resume), (2, false));
        assert!(compute_with(Some(0)).is_err());
    }
}
