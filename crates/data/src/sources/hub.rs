//! Datasets of the Hugging Face hub: the parquet files of its converted branch, downloaded once and kept in its cache.

use crate::dataset::Images;
use crate::files::Files;
use crate::pictures::Pictures;
use crate::sources::parquet;
use anyhow::{Context, Result, ensure};
use hf_hub::{HFClientSync, HFError};
use simclr_core::config::DataConfig;
use simclr_core::hub;
use std::path::PathBuf;
use std::sync::Arc;

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

/// Training and test images of a dataset of small pictures of one size, whole in memory. It has one parquet file for
/// each, the training split being the larger.
///
/// # Errors
/// When the hub cannot be reached, or holds something else.
pub fn load(id: &str, channels: usize) -> Result<[Images; 2]> {
    let hub = Hub::new(id)?;
    let names = hub.list()?;
    ensure!(names.len() == 2, "{id} has {} parquet files, expected 2", names.len());
    let config = DataConfig { channels, ..DataConfig::new("parquet", 1) };
    let mut splits = Vec::new();
    for path in hub.fetch(&names)? {
        splits.push(parquet::open(vec![path], &config)?);
    }
    splits.sort_by_key(|files| std::cmp::Reverse(files.labels.len()));
    let mut images =
        splits.into_iter().map(|files| in_memory(files, &config).with_context(|| format!("decoding {id}")));
    let mut next = || images.next().context("two files")?;
    Ok([next()?, next()?])
}

/// Decodes labeled pictures of one size.
///
/// # Errors
/// When one cannot be decoded, has no label, or differs in size.
fn in_memory(files: Files, config: &DataConfig) -> Result<Images> {
    let pictures = Pictures::new(Arc::new(files), config.channels, config);
    let labels = pictures.all_labels("training")?;
    let first = pictures.get(0).context("the first picture")?;
    let (height, width, channels) = (first.height, first.width, first.channels);
    let mut data = Vec::with_capacity(labels.len() * first.data.len());
    for index in 0..pictures.len() {
        let picture = pictures.get(index)?;
        ensure!((picture.height, picture.width) == (height, width), "pictures differ in size");
        data.extend(picture.data);
    }
    Ok(Images { height, width, channels, data, labels })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::synth::{Row, png, write_parquet};

    fn opened(rows: &[Row]) -> (tempfile::TempDir, Files, DataConfig) {
        let (dir, config) = (tempfile::tempdir().unwrap(), DataConfig { channels: 1, ..DataConfig::new("parquet", 1) });
        let path = dir.path().join("0000.parquet");
        write_parquet(&path, rows, 1, &[]).unwrap();
        let files = parquet::open(vec![path], &config).unwrap();
        (dir, files, config)
    }

    #[test]
    fn rows_of_a_parquet_file_become_images() {
        let rows = [png(&[1, 2, 3, 4, 5, 6], 2, 3, 1), png(&[7; 6], 2, 3, 1)];
        let rows: Vec<Row> =
            rows.into_iter().zip([9, 4]).map(|(bytes, label)| Row::of(bytes.unwrap(), label)).collect();
        let (_dir, files, config) = opened(&rows);
        let images = in_memory(files, &config).unwrap();
        assert_eq!((images.height, images.width, images.labels), (2, 3, vec![9, 4]));
        assert_eq!(images.data, [1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7], "rows of pixels stay rows");
    }

    #[test]
    fn mixed_sizes_are_errors() {
        let rows = [Row::of(png(&[0; 6], 2, 3, 1).unwrap(), 0), Row::of(png(&[0; 6], 3, 2, 1).unwrap(), 0)];
        let (_dir, files, config) = opened(&rows);
        assert!(in_memory(files, &config).unwrap_err().to_string().contains("differ in size"));
    }

    #[test]
    fn names_of_datasets_have_an_owner() {
        for wrong in ["imagenet", "a/b/c", "/x", "x/"] {
            assert!(Hub::new(wrong).err().unwrap().to_string().contains("expected OWNER/NAME"), "{wrong}");
        }
    }
}
