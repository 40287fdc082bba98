//! The table `[data]` of an experiment file.

use crate::value::{at_least_one, check_fraction};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Most pixels of a picture where `data.max_pixels` is not set: decoded, 300 MB.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Places that a sample of a shard is moved by shuffling, where `data.shuffle_buffer` is not set.
const SHUFFLE_BUFFER: usize = 4096;
/// MiB of encoded pictures that are kept of parquet files, where `data.parquet_cache` is not set.
const PARQUET_CACHE: usize = 1024;

/// Where images come from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A name of the table of datasets, which the crate `simclr-data` holds.
    pub dataset: String,
    /// Folder that holds the files; some datasets have a well-known place or a download besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// For `parquet`: a dataset of the Hugging Face hub, OWNER/NAME, in place of `dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Training images of `folder` (a folder in `dir`), `tar` or `parquet` (a pattern of files in `dir`, with `*` and
    /// `{000..127}`); looked for by the usual names where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// The same for the images that accuracy is measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<String>,
    /// Channels that pictures of files are decoded to: 3, or 1 for gray.
    #[serde(default = "three", skip_serializing_if = "is_three")]
    pub channels: usize,
    /// Side of the views in pixels.
    pub image_size: usize,
    /// Use the first N training images only; all where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Lists of the images whose label may be used, by label fraction; a fraction without one is drawn by class.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lists: Vec<LabelList>,
    /// For `tar` and `parquet`: shuffling moves a sample by fewer places than this within the permuted shards; 0
    /// permutes all samples.
    #[serde(default = "shuffle_buffer", skip_serializing_if = "is_shuffle_buffer")]
    pub shuffle_buffer: usize,
    /// What becomes of a picture that cannot be decoded.
    #[serde(default, skip_serializing_if = "Corrupt::is_skip")]
    pub corrupt: Corrupt,
    /// Most pixels that a picture may have; one that names more counts as corrupt and is not decoded.
    #[serde(default = "max_pixels", skip_serializing_if = "is_max_pixels")]
    pub max_pixels: u64,
    /// MiB of decoded pictures that are kept in memory, the first ones that are seen; 0 keeps none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache: usize,
    /// For `parquet`: MiB of encoded pictures that are kept, a row group at a time.
    #[serde(default = "parquet_cache", skip_serializing_if = "is_parquet_cache")]
    pub parquet_cache: usize,
    /// How training's views go up to a GPU. On the CPU the key changes nothing.
    #[serde(default, skip_serializing_if = "Upload::is_exact")]
    pub upload: Upload,
    /// Batches that the loader prepares ahead.
    #[serde(default = "two")]
    pub prefetch: usize,
}

/// The images whose label may be used at one label fraction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelList {
    /// The fraction that it stands for, as `--labels` and `reproduce.labels` name it.
    pub labels: f64,
    /// A text file: one file name a line, such as the authors' 1percent.txt.
    pub file: PathBuf,
}

/// What becomes of a picture that cannot be decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Corrupt {
    /// It is named in the log and replaced by the next good one of the epoch, or left out where accuracy is measured.
    #[default]
    Skip,
    /// The run ends with its name.
    Fail,
}

/// How training's views go up to a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upload {
    /// As they are: as bytes where they hold bytes of the pictures, else as the network's maps are stored, or as f32 where the
    /// GPU finishes them.
    #[default]
    Exact,
    /// As bytes, a quarter of f32 and half of bf16: each number is clipped to 0..1 and rounded to the nearest k / 255, half of
    /// 1 / 255 off at most. The reference does not round.
    Bytes,
}

impl Upload {
    fn is_exact(&self) -> bool {
        *self == Self::Exact
    }
}

impl Corrupt {
    fn is_skip(&self) -> bool {
        *self == Self::Skip
    }
}

fn two() -> usize {
    2
}
fn three() -> usize {
    3
}
fn is_three(n: &usize) -> bool {
    *n == three()
}
fn shuffle_buffer() -> usize {
    SHUFFLE_BUFFER
}
fn is_shuffle_buffer(n: &usize) -> bool {
    *n == SHUFFLE_BUFFER
}
fn max_pixels() -> u64 {
    MAX_PIXELS
}
fn is_max_pixels(n: &u64) -> bool {
    *n == MAX_PIXELS
}
fn parquet_cache() -> usize {
    PARQUET_CACHE
}
fn is_parquet_cache(n: &usize) -> bool {
    *n == PARQUET_CACHE
}
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl DataConfig {
    /// A dataset at its usual place, everything else at its default.
    pub fn new(dataset: &str, image_size: usize) -> Self {
        Self {
            dataset: dataset.into(),
            dir: None,
            hub: None,
            train: None,
            test: None,
            channels: three(),
            image_size,
            limit: None,
            lists: Vec::new(),
            shuffle_buffer: SHUFFLE_BUFFER,
            corrupt: Corrupt::Skip,
            max_pixels: MAX_PIXELS,
            cache: 0,
            parquet_cache: PARQUET_CACHE,
            upload: Upload::Exact,
            prefetch: two(),
        }
    }

    /// The list of labeled images for a label fraction, where there is one.
    pub fn list(&self, fraction: f64) -> Option<&LabelList> {
        self.lists.iter().find(|list| (list.labels - fraction).abs() <= 1e-9)
    }

    /// Checks every value that its type does not.
    pub(super) fn check(&self) -> Result<()> {
        at_least_one("data.image_size", self.image_size)?;
        if ![1, 3].contains(&self.channels) {
            bail!("data.channels = {}: must be 3, or 1 for gray", self.channels)
        }
        if self.max_pixels == 0 {
            bail!("data.max_pixels = 0: must be at least 1")
        }
        for (i, list) in self.lists.iter().enumerate() {
            check_fraction("data.lists: labels =", list.labels)?;
            if self.lists[..i].iter().any(|other| (other.labels - list.labels).abs() <= 1e-9) {
                bail!("data.lists holds two lists for labels = {}", list.labels)
            }
        }
        if self.hub.is_some() && self.dir.is_some() {
            bail!("data.hub and data.dir are both set: name one place")
        }
        Ok(())
    }
}
