//! `simclr-eval`: what a checkpoint is worth, what can be done with it, and the report of an experiment.

use simclr_core::cli::exit_with;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: simclr_alloc::Recycling = simclr_alloc::Recycling::new();

fn main() -> ExitCode {
    exit_with(simclr_eval::command::run(std::env::args_os().collect()))
}
