//! `cargo xtask`: builds and runs the stage binaries. It depends on no other code of the workspace, so that it is built in
//! seconds.
#![forbid(unsafe_code)]

/// Prints a line: see [`output`].
macro_rules! say {
    ($($line:tt)*) => { $crate::output::say(format_args!($($line)*)) };
}

mod ablate;
mod arm;
mod bench;
mod built;
mod ci;
mod cuda;
mod deny;
mod doctor;
mod fuzz;
mod hostile;
mod import;
// Files of `core` that use the standard library alone: this program starts stages and links none of them.
#[allow(dead_code)]
#[path = "../../crates/core/src/run/layout.rs"]
mod layout;
mod machine;
mod mpi;
#[allow(dead_code)]
#[path = "../../crates/core/src/cli/output.rs"]
mod output;
mod pack;
mod parity;
mod programs;
mod prove;
mod publish;
#[allow(dead_code)]
#[path = "../../crates/core/src/readable.rs"]
mod readable;
mod reproduce;
mod results;
mod sanitize;
mod soak;
#[allow(dead_code)]
#[path = "../../crates/core/src/stages.rs"]
mod stages;
mod synth;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Reproduces experiments, measures, and checks the project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an experiment from its file to its report; again, to go on where it stopped
    Reproduce(Box<reproduce::Args>),
    /// Find which value of a key is best, and which is the cheapest that is as good: KEY=V1,V2,... --seeds N --budget HOURS
    Ablate(ablate::Args),
    /// Write the experiment that `reproduce --images DIR` would run: --images DIR --out FILE.toml, and options of `reproduce`
    New(reproduce::NewArgs),
    /// Write the tables of README.md and docs/results.md from results/*.json; `add RUN...` makes such a file of finished runs
    Results(results::Args),
    /// Measure a training step or the augmentation; one JSON line comes last
    Bench(bench::Args),
    /// Turn a TensorFlow checkpoint (TF1, TF2 or SavedModel) into one of this project: PREFIX --out DIR
    ImportTf(import::Args),
    /// Turn a ResNet of torchvision or timm (.safetensors) into a checkpoint of this project: FILE --out DIR
    ImportTorch(import::TorchArgs),
    /// Put a checkpoint on the Hugging Face hub: RUN_OR_CHECKPOINT --repo OWNER/NAME [--dry-run]
    Publish(publish::Args),
    /// Write a synthetic ImageNet as folders, tar shards and parquet files: --out DIR [--images N] [--classes N]
    SynthImagenet(synth::Args),
    /// Run the golden tests and write how close they came into docs/parity.md
    Parity,
    /// Tell what this machine has, what a run would use of it, and what to install
    Doctor,
    /// Compile all that is for NVIDIA GPUs, with a toolkit from PyPI: needs no GPU, and 300 MB of disk
    CudaCheck(cuda::Args),
    /// Make a folder for a machine with a GPU and no Rust: stages, this program, experiments, and what `prove` needs
    Pack(pack::Args),
    /// On a machine with a GPU: tests, determinism, trainings to a known accuracy, and speed, within minutes
    Prove(prove::Args),
    /// Run the tests that compute on 64-bit ARM, emulated: compiles them with Debian's cross compiler
    ArmCheck(arm::Args),
    /// Build the stages with MPI (from PyPI, where the machine has none) and test them as processes
    MpiCheck,
    /// Give more than a thousand malformed inputs to the programs: each must be refused by one clear message
    Hostile(hostile::Args),
    /// Hold others' crates against deny.toml: licences, sources, versions
    Deny,
    /// Fuzz what reads bytes from outside, guided by coverage: [TARGET...] --seconds N
    Fuzz(fuzz::Args),
    /// AddressSanitizer over the crates that hold `unsafe`, and Miri where it is installed
    Sanitize(sanitize::Args),
    /// End an experiment again and again, in every stage, and hold what it comes to against an undisturbed run, bit for bit
    Soak(soak::Args),
    /// Everything that a change must pass: format, lints, tests, a tiny experiment
    Ci,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Reproduce(args) => reproduce::run(&args).map(|_| ()),
        Command::Ablate(args) => ablate::run(&args),
        Command::New(args) => reproduce::new(&args),
        Command::Results(args) => results::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::ImportTf(args) => import::run(&args),
        Command::ImportTorch(args) => import::run_torch(&args),
        Command::Publish(args) => publish::run(&args),
        Command::SynthImagenet(args) => synth::run(&args),
        Command::Parity => parity::run(),
        Command::Doctor => doctor::run(),
        Command::CudaCheck(args) => cuda::check(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::ArmCheck(args) => arm::check(&args),
        Command::MpiCheck => mpi::check(mpi::tests()),
        Command::Hostile(args) => hostile::run(&args),
        Command::Deny => deny::run(),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Sanitize(args) => sanitize::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Ci => ci::run(),
    };
    let done = done.and_then(|()| output::failure().map_or(Ok(()), |why| Err(anyhow::anyhow!(why))));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<reproduce::Interrupted>() => {
            eprintln!("{error}");
            ExitCode::from(reproduce::Interrupted::EXIT)
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
