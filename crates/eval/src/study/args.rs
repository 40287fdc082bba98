//! Options that name a study, its cells and its seeds.

use anyhow::Result;
use clap::Args;
use simclr_core::run::layout;
use simclr_study::{Choice, Plan, Study};
use std::path::PathBuf;

/// A study, and where its runs are.
#[derive(Clone, Debug, Args)]
pub struct StudyArgs {
    /// The study: a TOML file
    #[arg(long, value_name = "FILE")]
    pub study: PathBuf,

    /// One of its scales
    #[arg(long, default_value = "small")]
    pub scale: String,

    /// The folder of the runs, which all studies share
    #[arg(long, value_name = "DIR", default_value = layout::POOL)]
    pub pool: PathBuf,

    /// The folder of the study's own files
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Change one key of every cell; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Only these cells
    #[arg(long, value_name = "CELL,CELL", value_delimiter = ',')]
    pub cells: Option<Vec<String>>,

    /// These seeds instead of the study's
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub seeds: Option<Vec<u64>>,
}

impl StudyArgs {
    /// Its plan; `images` are those of the training set, where it is not here to be counted.
    ///
    /// # Errors
    /// When the study or a cell is not valid.
    pub fn plan(&self, images: Option<usize>) -> Result<Plan> {
        let study = Study::load(&self.study, &self.scale)?;
        let choice = Choice { set: self.set.clone(), cells: self.cells.clone(), seeds: self.seeds.clone(), images };
        Plan::new(study, &choice, &self.pool)
    }
}
