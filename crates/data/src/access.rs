//! Random access to the samples of a split by number, wherever they are stored.

use crate::image::{ImageRef, Images, Picture};
use crate::name::hash;
use anyhow::Result;
use std::ops::Range;

/// A sample as its source holds it.
#[derive(Debug)]
pub enum Stored<'a> {
    /// Pixels in the source's memory.
    Pixels(ImageRef<'a>),
    /// Pixels that were read for this call.
    Read(Picture),
    /// The bytes of a file of a format that [`crate::decode`] knows.
    File(Vec<u8>),
}

/// Random access to the images of one split, in the order in which they are stored. All methods may be called from many
/// threads at a time.
pub trait Source: Send + Sync {
    /// Number of samples, at most `u32::MAX`.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Class of a sample; `None` where it has none.
    fn label(&self, index: usize) -> Option<u32>;

    /// The sample's own name, the same wherever it is stored: a file's stem (see [`crate::stable_name`]). `None` where samples
    /// have numbers only.
    fn name(&self, _index: usize) -> Option<&str> {
        None
    }

    /// The path of the sample's file below the split's folder or in its shard, with `/` between its parts; `None` where
    /// samples are no files.
    fn path(&self, _index: usize) -> Option<&str> {
        None
    }

    /// Bytes of the sample's encoded picture, where they are known without reading it.
    fn file_size(&self, _index: usize) -> Option<u64> {
        None
    }

    /// Height and width of all images, where they are known and the same.
    fn size(&self) -> Option<(usize, usize)> {
        None
    }

    /// Where the sample is, for messages.
    fn place(&self, index: usize) -> String {
        format!("image {index}")
    }

    /// Reads a sample.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, index: usize) -> Result<Stored<'_>>;

    /// Runs of samples that are best read together, in order and without gaps; none where every sample is as quickly
    /// read as any other.
    fn shards(&self) -> Vec<Range<u32>> {
        Vec::new()
    }

    /// What a sample's random views are drawn by: its name where it has one, so that it gives the same views from a
    /// folder, tar shards and parquet files, whatever the order there; else its number.
    fn key(&self, index: usize) -> u64 {
        self.name(index).map_or(index as u64, hash)
    }
}

impl Source for Images {
    fn len(&self) -> usize {
        Images::len(self)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }

    fn size(&self) -> Option<(usize, usize)> {
        Some((self.height, self.width))
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        Ok(Stored::Pixels(self.get(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_in_memory_go_by_their_numbers() {
        let images = Images { height: 1, width: 1, channels: 1, data: vec![1, 2], labels: vec![0, 5] };
        assert_eq!((Source::key(&images, 1), Source::label(&images, 1)), (1, Some(5)));
    }
}
