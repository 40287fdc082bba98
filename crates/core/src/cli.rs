//! The command line that all stages share.

use crate::config::{Config, Dtype};
use crate::hub::redact;
use crate::progress::ProgressMode;
use anyhow::{Context, Error, Result, bail};
use candle_core::{Device, DeviceLocation};
use clap::ValueEnum;
use simclr_ops::Precision;
use simclr_ops::cpu::{Unit, chosen_unit};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

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

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,

    /// How feature maps are stored and multiplied [default: the experiment's `dtype`, f32 where it names none]
    #[arg(long, value_name = "DTYPE", value_enum)]
    pub dtype: Option<Dtype>,

    /// Change one key of the experiment, for every label fraction, such as --set pretrain.temperature=0.5; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Threads to compute with [default: one for each core]; results do not depend on it
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// How progress is shown
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub progress: ProgressMode,
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

/// What is logged where `RUST_LOG` is not set: the hub's client tells of each request at `info`.
const LOG: &str = "info,hf_hub=warn,xet=warn,client_telemetry=warn";

/// Sends log messages to stderr; `RUST_LOG` chooses them, `info` where it is not set.
pub fn init_log() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    // An error means that somebody has set a log up already: theirs stays.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Discreet).without_time();
    let _ = log.with_ansi(std::io::stderr().is_terminal()).try_init();
}

/// Stderr, without the hub's token. The log hands over whole lines.
struct Discreet;

impl Write for Discreet {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        std::io::stderr().write_all(redact(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// A device, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best that this build and machine have.
    Auto,
    /// The processor.
    Cpu,
    /// A GPU by its number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => other
                .strip_prefix("cuda:")
                .and_then(|n| n.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "expected auto, cpu, cuda or cuda:N".into()),
        }
    }
}

impl DeviceChoice {
    /// The device itself; to be opened once, for tensors of two openings do not mix. A GPU may use TF32.
    ///
    /// # Errors
    /// When this build or machine cannot compute on it.
    pub fn open(self) -> Result<Device> {
        self.open_as(Precision::Tf32)
    }

    /// As [`DeviceChoice::open`], in that precision.
    ///
    /// # Errors
    /// As there.
    pub fn open_as(self, precision: Precision) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto if !cfg!(feature = "cuda") => Ok(Device::Cpu),
            Self::Auto => match open_gpu(0, precision) {
                Ok(device) => Ok(device),
                Err(e) => {
                    tracing::warn!("computing on the CPU: {e:#}");
                    Ok(Device::Cpu)
                }
            },
            Self::Cuda(n) => {
                let opened = open_gpu(n, precision);
                opened.with_context(|| format!("--device cuda:{n} cannot be used; use --device cpu or auto"))
            }
        }
    }
}

#[cfg(feature = "cuda")]
fn open_gpu(ordinal: usize, precision: Precision) -> Result<Device> {
    simclr_ops::open_gpu(ordinal, precision).with_context(|| format!("opening GPU {ordinal}"))
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(_ordinal: usize, _precision: Precision) -> Result<Device> {
    bail!("this build computes on the CPU only (`cargo build --features cuda` makes one for GPUs)")
}

/// What results call a device: `cpu` or `cuda:N`.
pub fn device_name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        _ => "cpu".into(),
    }
}

/// Prints an error once, on stderr, and turns it into the exit code of `main`.
pub fn exit_with(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", redact(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
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
        let refused = DeviceChoice::Cuda(77).open().unwrap_err().to_string();
        assert!(refused.contains("cuda:77") && refused.contains("--device cpu"), "{refused}");
        assert_eq!(device_name(&DeviceChoice::Cpu.open().unwrap()), "cpu");
        for wrong in ["tpu", "cuda:", "cuda:x", "CPU"] {
            assert!(wrong.parse::<DeviceChoice>().is_err(), "{wrong}");
        }
        assert!(compute_with(Some(0)).is_err());
    }
}
