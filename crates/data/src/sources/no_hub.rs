//! Datasets of the hub, for a binary that was built without them.

use crate::dataset::Images;
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

/// As [`Hub::new`].
///
/// # Errors
/// Always.
pub fn load(id: &str, _: usize) -> Result<[Images; 2]> {
    Err(features::lacking(&format!("a download of {id}"), &["hub", "parquet"]))
}
