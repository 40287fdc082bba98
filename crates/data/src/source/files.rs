//! Files of pictures as a source: what folders, tar shards and parquet files have in common.

use super::classes::Classes;
use crate::access::{Source, Stored};
use anyhow::Result;
use std::ops::Range;

/// Where encoded pictures lie.
pub(crate) trait Store: Send + Sync {
    /// The bytes of a picture.
    fn read(&self, index: usize) -> Result<Vec<u8>>;

    /// Where it is, for messages.
    fn place(&self, index: usize) -> String;

    /// As [`Source::path`].
    fn path(&self, _index: usize) -> Option<&str> {
        None
    }

    /// As [`Source::file_size`].
    fn file_size(&self, _index: usize) -> Option<u64> {
        None
    }

    /// As [`Source::shards`].
    fn shards(&self) -> Vec<Range<u32>> {
        Vec::new()
    }
}

/// The samples of one split.
pub(crate) struct Files {
    pub store: Box<dyn Store>,
    /// One stable name a sample, where samples have names.
    pub names: Option<Vec<Box<str>>>,
    pub labels: Vec<Option<u32>>,
    pub classes: Classes,
    /// The folder of the split below the dataset's, where it has one: `train`.
    pub base: String,
    /// Samples from this one on are of other places than the split's own.
    pub own: usize,
}

impl Files {
    /// Samples of one place.
    pub(crate) fn new(
        store: Box<dyn Store>,
        names: Option<Vec<Box<str>>>,
        (labels, classes): (Vec<Option<u32>>, Classes),
    ) -> Self {
        let own = labels.len();
        Self { store, names, labels, classes, base: String::new(), own }
    }

    /// Samples that have a label.
    pub(crate) fn labeled(&self) -> usize {
        self.labels.iter().flatten().count()
    }
}

impl Source for Files {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels[index]
    }

    fn name(&self, index: usize) -> Option<&str> {
        self.names.as_ref().map(|names| names[index].as_ref())
    }

    fn path(&self, index: usize) -> Option<&str> {
        self.store.path(index)
    }

    fn file_size(&self, index: usize) -> Option<u64> {
        self.store.file_size(index)
    }

    fn place(&self, index: usize) -> String {
        self.store.place(index)
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        self.store.read(index).map(Stored::File)
    }

    fn shards(&self) -> Vec<Range<u32>> {
        self.store.shards()
    }
}
