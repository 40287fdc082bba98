//! How large anything may be that somebody else chooses: held against before memory is asked for.
//!
//! An experiment, a checkpoint's `config.json`, a file of labels and an option of the command line ask for sizes. Each has its
//! bound here, far above what anybody trains and far below what a machine cannot hold, and is refused by [`within`] with the
//! key, file or row that asked for it.

use crate::fit::short;
use anyhow::{Result, ensure};
use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;

/// Side of a view, in pixels.
pub const IMAGE_SIZE: RangeInclusive<usize> = 1..=4096;
/// Channels of an image.
pub const CHANNELS: RangeInclusive<usize> = 1..=16;
/// Classes of a dataset or of a classifier.
pub const CLASSES: RangeInclusive<usize> = 0..=1_000_000;
/// What multiplies the base channels of a network: from one channel up.
pub const WIDTH: RangeInclusive<f64> = 1.0 / 64.0..=64.0;
/// Parameters of a network, all together: five times those of the largest that was published.
pub const PARAMETERS: usize = 4_000_000_000;
/// Layers of the projection head.
pub const PROJECTION_LAYERS: RangeInclusive<usize> = 0..=16;
/// Width of the projection head's output.
pub const PROJECTION_DIM: RangeInclusive<usize> = 1..=65_536;
/// Keys of a queue of negatives: 64 times the published one.
pub const QUEUE: RangeInclusive<usize> = 0..=4_194_304;
/// Images of a batch.
pub const BATCH: RangeInclusive<usize> = 1..=1_048_576;
/// Bytes of an encoded picture, whatever holds it.
pub const PICTURE: u64 = 1 << 30;
/// Bytes of a table or a list that names pictures, a line each.
pub const TABLE: u64 = 256 << 20;
/// Rows of such a table.
pub const TABLE_ROWS: usize = 8 << 20;
/// Bytes of a file of weights or pictures that is downloaded.
pub const FILE: u64 = 1 << 40;
/// Images of a dataset: what numbers them has 32 bits.
pub const IMAGES: RangeInclusive<usize> = 1..=u32::MAX as usize;
/// A number of something that is counted from 0, or none of it.
pub const INDEX: RangeInclusive<usize> = 0..=u32::MAX as usize;
/// Steps or images of a run, far beyond the longest.
pub const STEPS: RangeInclusive<u64> = 1..=1_000_000_000_000;
/// Passes over a dataset.
pub const EPOCHS: f64 = 1_000_000.0;
/// Views of an image.
pub const VIEWS: RangeInclusive<usize> = 1..=1024;
/// Batches that are made ahead.
pub const PREFETCH: RangeInclusive<usize> = 0..=1024;
/// MiB of a cache: 16 TiB at most.
pub const CACHE: RangeInclusive<usize> = 0..=1 << 24;
/// Pixels of a picture.
pub const PIXELS: RangeInclusive<usize> = 1..=10_000_000_000;
/// Neighbours, subsets, the likeliest classes: what is counted one by one.
pub const COUNT: RangeInclusive<usize> = 1..=1_000_000;
/// Threads of a process.
pub const THREADS: RangeInclusive<usize> = 1..=1024;
/// Ranks of a process, a thread each.
pub const RANKS: RangeInclusive<usize> = 1..=256;
/// Bytes of the views of one batch: 1 TiB.
pub const BATCH_BYTES: usize = 1 << 40;
/// Bytes of a text or a path in an experiment.
pub const TEXT: usize = 4096;
/// Elements of a list in an experiment.
pub const LIST: usize = 10_000;
/// Bytes of a small file: a manifest, a description of a network, an experiment.
pub const SMALL_FILE: u64 = 16 << 20;

/// The value, where it lies in its range; `what` leads the message, such as `model.width` or `labels.cls of sample 7`.
///
/// # Errors
/// Where it does not.
pub fn within<T: PartialOrd + Display + Debug>(what: impl Display, value: T, range: &RangeInclusive<T>) -> Result<T> {
    ensure!(
        range.contains(&value),
        "{what} = {}: must lie in {} to {}",
        short(&format_args!("{value:?}")),
        range.start(),
        range.end()
    );
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_lies_outside_is_named() {
        assert_eq!(within("model.proj_layers", 3, &PROJECTION_LAYERS).unwrap(), 3);
        let message = within("model.proj_layers", 17, &PROJECTION_LAYERS).unwrap_err().to_string();
        assert_eq!(message, "model.proj_layers = 17: must lie in 0 to 16");
        assert!(within("model.width", f64::NAN, &WIDTH).is_err());
        assert_eq!(
            within("width", 1e300, &WIDTH).unwrap_err().to_string(),
            "width = 1e300: must lie in 0.015625 to 64"
        );
    }
}
