//! `simclr-eval`: what a checkpoint is worth, what can be done with it, and the report of an experiment.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: simclr_alloc::Recycling = simclr_alloc::Recycling::new();

fn main() -> ExitCode {
    simclr_eval::command::main(std::env::args_os().collect())
}
