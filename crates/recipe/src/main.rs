//! `simclr-recipe`: an experiment for a person's own pictures.
#![forbid(unsafe_code)]

use clap::Parser;
use simclr_core::cli::exit_with;
use simclr_recipe::RecipeArgs;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: simclr_alloc::Recycling = simclr_alloc::Recycling::new();

/// Look at a folder of pictures and write an experiment for them: an ordinary TOML with a comment on each choice.
///
/// Image size, network, batch, rates and lengths follow from how many pictures and labels there are and from what this
/// machine does, which is measured with a few steps. `cargo xtask reproduce --images DIR` does this and runs the result.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    args: RecipeArgs,
}

fn main() -> ExitCode {
    exit_with(simclr_recipe::run(&simclr_core::cli::parse::<Args>().args))
}
