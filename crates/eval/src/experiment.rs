//! The options that name an experiment and the folder of its runs.

use anyhow::Result;
use simclr_core::config::Config;
use std::path::PathBuf;

/// An experiment, and where its runs are.
#[derive(Clone, Debug, clap::Args)]
pub struct Experiment {
    /// The experiment: a TOML file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// The folder of all its runs
    #[arg(long, visible_alias = "out", value_name = "DIR")]
    pub run: PathBuf,

    /// Change one key of the experiment; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl Experiment {
    /// Reads it.
    ///
    /// # Errors
    /// When the file is missing or not valid.
    pub fn load(&self) -> Result<Config> {
        Config::load(&self.config, &self.set)
    }
}
