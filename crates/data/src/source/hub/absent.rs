//! Datasets of the hub, for a binary that was built without them.

use anyhow::Result;
use simclr_core::features;
use std::path::PathBuf;

/// A dataset of the hub: there is none.
pub(crate) enum Hub {}

impl Hub {
    /// Says what is missing, and how to get it.
    ///
    /// # Errors
    /// Always.
    pub(crate) fn new(id: &str) -> Result<Self> {
        Err(features::lacking(&format!("data.hub = \"{id}\""), &["hub", "parquet"]))
    }

    pub(crate) fn list(&self) -> Result<Vec<String>> {
        match *self {}
    }

    pub(crate) fn fetch(&self, _: &[String]) -> Result<Vec<PathBuf>> {
        match *self {}
    }
}
