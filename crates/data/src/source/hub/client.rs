//! Datasets of the Hugging Face hub: the parquet files of its converted branch, downloaded once and kept in its cache.

use anyhow::{Context, Result, ensure};
use simclr_core::hub::{HubDataset, RepoId};
use std::path::PathBuf;

/// A dataset of the hub.
pub(crate) struct Hub {
    id: String,
    dataset: HubDataset,
}

impl Hub {
    /// `id` is OWNER/NAME. Access to gated datasets is by the token that the hub's own tools keep.
    ///
    /// # Errors
    /// When `id` has another form, the hub cannot be reached, or does not know or show the dataset.
    pub(crate) fn new(id: &str) -> Result<Self> {
        let repo: RepoId = id.parse().with_context(|| format!("data.hub = \"{id}\": expected OWNER/NAME"))?;
        Ok(Self { id: id.into(), dataset: HubDataset::open(&repo)? })
    }

    /// Names of the parquet files, sorted.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn list(&self) -> Result<Vec<String>> {
        let mut names = self.dataset.files();
        names.retain(|name| name.ends_with(".parquet"));
        ensure!(!names.is_empty(), "{} has no parquet file on the Hugging Face hub", self.id);
        Ok(names)
    }

    /// Where files are on this machine, downloaded where they are not yet.
    ///
    /// # Errors
    /// When a download fails, or the hub sends other bytes than it states.
    pub(crate) fn fetch(&self, names: &[String]) -> Result<Vec<PathBuf>> {
        names.iter().map(|name| self.dataset.fetch(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_of_datasets_have_an_owner() {
        for wrong in ["imagenet", "a/b/c", "/x", "x/"] {
            assert!(Hub::new(wrong).err().unwrap().to_string().contains("expected OWNER/NAME"), "{wrong}");
        }
    }
}
