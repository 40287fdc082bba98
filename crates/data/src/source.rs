//! What the loader needs of a source of images: random access to samples by number.

use crate::dataset::{ImageRef, Images};
use crate::picture::Picture;
use anyhow::Result;
use std::ops::Range;

/// A sample as its source holds it.
#[derive(Debug)]
pub enum Stored<'a> {
    /// Pixels in the source's memory.
    Pixels(ImageRef<'a>),
    /// Pixels that were read for this call.
    Read(Picture),
    /// The bytes of a JPEG, PNG or WebP file.
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

    /// The sample's own name, the same wherever it is stored: a file's stem (see [`stable_name`]). `None` where samples
    /// have numbers only.
    fn name(&self, _index: usize) -> Option<&str> {
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

/// FNV-1a: 64 bits that are the same on every machine and in every version.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The stem of a path, without what the hub's ImageNet appends to it: `val/n01440764/a_10026_n01440764.JPEG` is `a_10026`.
pub fn stable_name(path: &str) -> &str {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let stem = match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => file,
    };
    match stem.rsplit_once('_') {
        Some((rest, last)) if !rest.is_empty() && is_wordnet(last) => rest,
        _ => stem,
    }
}

/// Whether this is a class of ImageNet: `n` and eight digits.
pub(crate) fn is_wordnet(text: &str) -> bool {
    text.len() == 9 && text.starts_with('n') && text[1..].bytes().all(|b| b.is_ascii_digit())
}

impl Source for Images {
    fn len(&self) -> usize {
        Images::len(self)
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        Ok(Stored::Pixels(self.get(index)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_depend_on_the_storage() {
        for path in [
            "n01440764/n01440764_10026.JPEG",
            "n01440764_10026_n01440764.JPEG",
            "/data/train/n01440764_10026.jpg",
            "n01440764_10026",
            "C:\\pictures\\n01440764_10026.png",
        ] {
            assert_eq!(stable_name(path), "n01440764_10026", "{path}");
        }
        assert_eq!(stable_name("ILSVRC2012_val_00000293_n01440764.JPEG"), "ILSVRC2012_val_00000293");
        for (path, name) in [("n01440764.jpg", "n01440764"), ("_n01440764", "_n01440764"), (".hidden", ".hidden")] {
            assert_eq!(stable_name(path), name);
        }
        assert_eq!(stable_name("a.b.tar.png"), "a.b.tar");
        assert_eq!(stable_name("a_n0144076.png"), "a_n0144076");
    }

    #[test]
    fn keys_are_the_published_hash() {
        // Known values of FNV-1a: views of all runs hang on them.
        assert_eq!((hash(""), hash("a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
        let images = Images { height: 1, width: 1, channels: 1, data: vec![1, 2], labels: vec![0, 5] };
        assert_eq!((Source::key(&images, 1), Source::label(&images, 1)), (1, Some(5)));
    }
}
