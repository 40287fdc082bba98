//! Datasets of the Hugging Face hub: the parquet files of its converted branch, downloaded once and kept in its cache.

use anyhow::{Context, Result, ensure};
use hf_hub::{HFClientSync, HFError};
use simclr_core::hub;
use std::path::PathBuf;

/// Where the hub keeps every dataset as parquet.
const REVISION: &str = "refs/convert/parquet";

/// A dataset of the hub.
pub(crate) struct Hub {
    id: String,
    client: HFClientSync,
}

impl Hub {
    /// `id` is OWNER/NAME. Access to gated datasets is by the token that the hub's own tools keep.
    ///
    /// # Errors
    /// When `id` has another form.
    pub(crate) fn new(id: &str) -> Result<Self> {
        let parts: Vec<&str> = id.split('/').collect();
        ensure!(parts.len() == 2 && parts.iter().all(|p| !p.is_empty()), "data.hub = \"{id}\": expected OWNER/NAME");
        Ok(Self { id: id.into(), client: hub::client(false)? })
    }

    /// Names of the parquet files, sorted.
    ///
    /// # Errors
    /// When the hub cannot be reached, or does not know or show the dataset.
    pub(crate) fn list(&self) -> Result<Vec<String>> {
        let (owner, name) = hf_hub::split_id(&self.id);
        let about = self.client.dataset(owner, name).info().revision(REVISION).send();
        let about = about.with_context(|| format!("asking the Hugging Face hub for {}", self.id))?;
        let files = about.siblings.unwrap_or_default().into_iter().map(|file| file.rfilename);
        let mut names: Vec<String> = files.filter(|name| name.ends_with(".parquet")).collect();
        ensure!(!names.is_empty(), "{} has no parquet file on the Hugging Face hub", self.id);
        names.sort_unstable();
        Ok(names)
    }

    /// Where files are on this machine, downloaded where they are not yet.
    ///
    /// # Errors
    /// When a download fails.
    pub(crate) fn fetch(&self, names: &[String]) -> Result<Vec<PathBuf>> {
        let (owner, id) = hf_hub::split_id(&self.id);
        let dataset = self.client.dataset(owner, id);
        let fetch = |name: &String| {
            let download = dataset.download_file().filename(name).revision(REVISION);
            let kept = download.clone().local_files_only(true).send();
            let path = match kept {
                Err(HFError::LocalEntryNotFound { .. }) => {
                    tracing::info!("downloading {name} of {}", self.id);
                    download.send()
                }
                kept => kept,
            };
            path.with_context(|| format!("fetching {name} of {}", self.id))
        };
        names.iter().map(fetch).collect()
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
