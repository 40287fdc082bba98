//! What an experiment was made from, kept beside it: with other labels it is made anew, and pretraining stays.

use crate::choose::{Choice, Pictures};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use simclr_core::disk;
use std::path::Path;

/// Where the pictures are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// `folder`, `tar` or `parquet`.
    pub dataset: String,
    /// The folder.
    pub dir: String,
    /// The table of labels.
    pub labels: Option<String>,
    /// A folder of more pictures, without labels.
    pub unlabeled: Option<String>,
    /// Pictures to measure on.
    pub test: Option<String>,
    /// Channels of the pictures, where they were named.
    pub channels: Option<usize>,
    /// The share to hold out, where it is not the usual one.
    pub held_out: Option<f64>,
}

/// All that the experiment follows from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The experiment's name.
    pub name: String,
    /// Everything random follows from it.
    pub seed: u64,
    /// What it runs on, for people.
    pub device: String,
    /// Whether maps are bf16.
    pub bf16: bool,
    /// Where the pictures are.
    pub place: Place,
    /// What they are.
    pub pictures: Pictures,
    /// What was chosen.
    pub choice: Choice,
    /// Which pictures have which label.
    pub labels: String,
}

/// The facts in `path`; none where there is no such file.
///
/// # Errors
/// When it is damaged.
pub fn read(path: &Path) -> Result<Option<Facts>> {
    if !path.exists() {
        return Ok(None);
    }
    let facts = serde_json::from_value(disk::read_json(path)?);
    facts.map(Some).with_context(|| format!("{} is not of this version: choose another --out", path.display()))
}
