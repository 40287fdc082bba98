//! Parquet files, for a binary that was built without them.

use crate::source::files::Files;
use anyhow::Result;
use simclr_core::config::DataConfig;
use simclr_core::features;
use std::path::PathBuf;

/// Says what is missing, and how to get it.
///
/// # Errors
/// Always.
pub(crate) fn open(_: Vec<PathBuf>, _: &DataConfig) -> Result<Files> {
    Err(features::lacking("data.dataset = \"parquet\"", &["parquet"]))
}
