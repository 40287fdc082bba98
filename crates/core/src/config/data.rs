//! The table `[data]` of an experiment file.

use crate::amount::LabelAmount;
use crate::bounds;
use crate::keys::{self, Kind, Value, shown_numbers};
use crate::{table, words};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Most pixels of a picture where `data.max_pixels` is not set: decoded, 300 MB.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Places that a sample of a shard is moved by shuffling, where `data.shuffle_buffer` is not set.
const SHUFFLE_BUFFER: usize = 4096;
/// MiB of encoded pictures that are kept of parquet files, where `data.parquet_cache` is not set.
const PARQUET_CACHE: usize = 1024;
/// Share of the labeled pictures that is held out, where `data.held_out` is not set and there are no test pictures.
const HELD_OUT: f64 = 0.2;
/// Channels that files of pictures are decoded to, where `data.channels` is not set.
const COLOUR: usize = 3;
/// Most channels of a picture.
pub const MAX_CHANNELS: usize = *bounds::CHANNELS.end();
/// Least and most parts of `data.fold`.
const FOLDS: std::ops::RangeInclusive<usize> = 2..=100;

table! {
    /// Where images come from.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct DataConfig {
        /// A name of the table of datasets, which the crate `simclr-data` holds.
        pub dataset: String;
        /// Folder that holds the files; some datasets have a well-known place or a download besides.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub dir: Option<PathBuf> = None;
        /// For `parquet`: a dataset of the Hugging Face hub, OWNER/NAME, in place of `dir`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hub: Option<String> = None;
        /// Training images of `folder` (a folder in `dir`), `tar` or `parquet` (a pattern of files in `dir`, with `*` and
        /// `{000..127}`); looked for by the usual names where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub train: Option<String> = None;
        /// The same for the images that accuracy is measured on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub test: Option<String> = None;
        /// A table of labels (CSV or TSV) for pictures of files; those that it does not name have none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub labels: Option<PathBuf> = None;
        /// The columns of that table that hold file and label; found by the usual names where it is missing. For `parquet` without
        /// a table, the columns of the files themselves that hold path and label.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub label_columns: Option<[String; 2]> = None;
        /// For `folder`: a folder, in `dir` or elsewhere, of more training pictures, which have no label; found by the usual
        /// names in `dir` where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unlabeled: Option<PathBuf> = None;
        /// Share of the labeled training pictures of files that is held out to measure on, of each class, where there are no
        /// test pictures; 0 holds none out.
        #[serde(default = "held_out", skip_serializing_if = "is_held_out")]
        pub held_out: f64 = held_out(), in keys::Range::below(0.0, 1.0);
        /// `[k, K]`: hold out the `k`-th of `K` equal parts of the labeled pictures instead, counted from 0.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fold: Option<[usize; 2]> = None;
        /// Channels of the pictures: 3 (colour), 1 (gray), up to 16 for arrays and TIFF files that have them. Where it is
        /// missing files are decoded to colour, and datasets of other kinds have what they have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub channels: Option<usize> = None, in keys::Range::of(&bounds::CHANNELS);
        /// Which numbers of pictures of more than 8 bits become black and white; all that their type holds where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub range: Option<Range> = None;
        /// Turn pictures upright as their EXIF orientation says. The reference does not.
        #[serde(default, skip_serializing_if = "is_false")]
        pub orientation: bool = false;
        /// What becomes of a JPEG or PNG that breaks off before its end.
        #[serde(default, skip_serializing_if = "Truncated::is_corrupt")]
        pub on_truncated: Truncated = Truncated::Corrupt;
        /// Side of the views in pixels.
        pub image_size: usize, in keys::Range::of(&bounds::IMAGE_SIZE);
        /// Use the first N training images only; all where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub limit: Option<usize> = None, in keys::Range::of(&bounds::IMAGES);
        /// Lists of the images whose label may be used, by amount of labels; an amount without one is drawn by class.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub lists: Vec<LabelList> = Vec::new();
        /// For `tar` and `parquet`: shuffling moves a sample by fewer places than this within the permuted shards; 0
        /// permutes all samples.
        #[serde(default = "shuffle_buffer", skip_serializing_if = "is_shuffle_buffer")]
        pub shuffle_buffer: usize = shuffle_buffer(), in keys::Range::closed(0.0, *bounds::IMAGES.end() as f64);
        /// What becomes of a picture that cannot be decoded.
        #[serde(default, skip_serializing_if = "Corrupt::is_skip")]
        pub corrupt: Corrupt = Corrupt::Skip;
        /// Most pixels that a picture may have; one that names more counts as corrupt and is not decoded.
        #[serde(default = "max_pixels", skip_serializing_if = "is_max_pixels")]
        pub max_pixels: u64 = max_pixels(), in keys::Range::of(&bounds::PIXELS);
        /// MiB of decoded pictures that are kept in memory, the first ones that are seen; 0 keeps none.
        #[serde(default, skip_serializing_if = "is_zero")]
        pub cache: usize = 0, in keys::Range::of(&bounds::CACHE);
        /// For `parquet`: MiB of encoded pictures that are kept, a row group at a time.
        #[serde(default = "parquet_cache", skip_serializing_if = "is_parquet_cache")]
        pub parquet_cache: usize = parquet_cache(), in keys::Range::of(&bounds::CACHE);
        /// How training's views go up to a GPU. On the CPU the key changes nothing.
        #[serde(default, skip_serializing_if = "Upload::is_exact")]
        pub upload: Upload = Upload::Exact;
        /// Batches that the loader prepares ahead.
        #[serde(default = "two")]
        pub prefetch: usize = two(), in keys::Range::of(&bounds::PREFETCH);
    }
    also relations
}

table! {
    /// The images whose label may be used at one amount of labels.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct LabelList {
        /// The amount that it stands for, as `--labels` and `reproduce.labels` name it.
        pub labels: LabelAmount;
        /// A text file: one file name a line, such as the authors' 1percent.txt.
        pub file: PathBuf;
    }
}

words! {
    /// What becomes of a picture that cannot be decoded.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Corrupt {
        /// It is named in the log and replaced by the next good one of the epoch, or left out where accuracy is measured.
        #[default]
        Skip = "skip",
        /// The run ends with its name.
        Fail = "fail",
    }
}

/// Which numbers of a picture of more than 8 bits become black and white.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Range {
    /// `[black, white]`, the same for all pictures.
    Fixed([f64; 2]),
    /// `"minmax"`: the least and the largest of each picture.
    Each(EachRange),
}

impl Value for Range {
    fn kind() -> Kind {
        Kind::Plain("[black, white], two numbers that ascend, or \"minmax\"")
    }

    fn shown(&self) -> String {
        match self {
            Self::Fixed(ends) => shown_numbers(ends),
            Self::Each(EachRange::MinMax) => "\"minmax\"".into(),
        }
    }
}

/// A range that each picture has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EachRange {
    /// From its least number to its largest.
    MinMax,
}

words! {
    /// What becomes of a JPEG or PNG that breaks off before its end.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Truncated {
        /// It cannot be decoded.
        #[default]
        Corrupt = "corrupt",
        /// What can be decoded is kept; the rest is gray, of a PNG black.
        Keep = "keep",
    }
}

impl Truncated {
    fn is_corrupt(&self) -> bool {
        *self == Self::Corrupt
    }
}

words! {
    /// How training's views go up to a GPU.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Upload {
        /// As they are: as bytes where they hold bytes of the pictures, else as the network's maps are stored, or as f32 where the
        /// GPU finishes them.
        #[default]
        Exact = "exact",
        /// As bytes, a quarter of f32 and half of bf16: each number is clipped to 0..1 and rounded to the nearest k / 255, half of
        /// 1 / 255 off at most. The reference does not round.
        Bytes = "bytes",
    }
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
fn is_false(b: &bool) -> bool {
    !b
}
fn held_out() -> f64 {
    HELD_OUT
}
fn is_held_out(share: &f64) -> bool {
    *share == HELD_OUT
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
            labels: None,
            label_columns: None,
            unlabeled: None,
            held_out: HELD_OUT,
            fold: None,
            channels: None,
            range: None,
            orientation: false,
            on_truncated: Truncated::Corrupt,
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

    /// Channels that files of pictures are decoded to.
    pub fn file_channels(&self) -> usize {
        self.channels.unwrap_or(COLOUR)
    }

    /// The list of labeled images for an amount of labels, where there is one.
    pub fn list(&self, amount: LabelAmount) -> Option<&LabelList> {
        self.lists.iter().find(|list| list.labels == amount)
    }

    /// What keys must be to one another, and what has two numbers.
    fn relations(&self, _: &str) -> Result<()> {
        if let Some([part, parts]) = self.fold
            && !(FOLDS.contains(&parts) && part < parts)
        {
            bail!(
                "data.fold = [{part}, {parts}]: must be a part, counted from 0, and the number of parts, {} to {}",
                FOLDS.start(),
                FOLDS.end()
            )
        }
        if let Some(Range::Fixed([black, white])) = self.range
            && !(black.is_finite() && white.is_finite() && black < white)
        {
            bail!("data.range = {}: must be two numbers that ascend, or \"minmax\"", shown_numbers(&[black, white]))
        }
        // Of parquet files it names columns of their own.
        if self.label_columns.is_some() && self.labels.is_none() && self.dataset != "parquet" {
            bail!("data.label_columns names columns of data.labels, which is not set")
        }
        for (i, list) in self.lists.iter().enumerate() {
            list.labels.check("data.lists: labels =")?;
            if self.lists[..i].iter().any(|other| other.labels == list.labels) {
                bail!("data.lists holds two lists for labels = {}", list.labels)
            }
        }
        if self.hub.is_some() && self.dir.is_some() {
            bail!("data.hub and data.dir are both set: name one place")
        }
        Ok(())
    }
}
