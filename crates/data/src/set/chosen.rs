//! Some samples of a source as a source of their own, and which ones are chosen by the names of all.

use crate::access::{Source, Stored};
use crate::name::{hash, scattered};
use anyhow::Result;
use std::ops::Range;
use std::sync::Arc;

/// Some samples of a source, which keep their names and their places.
pub(crate) struct Chosen {
    source: Arc<dyn Source>,
    /// Ascending.
    samples: Vec<u32>,
}

impl Chosen {
    /// `samples` are ascending numbers of samples of `source`.
    pub(crate) fn new(source: Arc<dyn Source>, samples: Vec<u32>) -> Self {
        debug_assert!(samples.is_sorted());
        Self { source, samples }
    }

    fn at(&self, index: usize) -> usize {
        self.samples[index] as usize
    }
}

impl Source for Chosen {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.source.label(self.at(index))
    }

    fn name(&self, index: usize) -> Option<&str> {
        self.source.name(self.at(index))
    }

    fn path(&self, index: usize) -> Option<&str> {
        self.source.path(self.at(index))
    }

    fn file_size(&self, index: usize) -> Option<u64> {
        self.source.file_size(self.at(index))
    }

    fn size(&self) -> Option<(usize, usize)> {
        self.source.size()
    }

    fn place(&self, index: usize) -> String {
        self.source.place(self.at(index))
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        self.source.read(self.at(index))
    }

    fn shards(&self) -> Vec<Range<u32>> {
        let at = |edge: u32| self.samples.partition_point(|sample| *sample < edge) as u32;
        let shards = self.source.shards().into_iter().map(|shard| at(shard.start)..at(shard.end));
        shards.filter(|shard| !shard.is_empty()).collect()
    }

    fn key(&self, index: usize) -> u64 {
        self.source.key(self.at(index))
    }
}

/// Where a sample falls in the whole range of `u64` by its own name alone, whatever others there are: its path without the
/// ending, or else its stable name, or its number. Another `purpose` scatters all samples anew.
pub(crate) fn lot(source: &dyn Source, index: usize, purpose: &str) -> u64 {
    let own = match source.path(index) {
        Some(path) => match path.rsplit_once('.') {
            Some((stem, ending)) if !ending.contains('/') => hash(stem),
            _ => hash(path),
        },
        None => source.name(index).map_or(index as u64, hash),
    };
    scattered(own ^ hash(purpose))
}

/// The samples of each class in the order of their lots, and those without a label at the end.
pub(crate) fn lots_by_class(source: &dyn Source, classes: usize, purpose: &str) -> Vec<Vec<(u64, u32)>> {
    let mut of: Vec<Vec<(u64, u32)>> = vec![Vec::new(); classes + 1];
    for index in 0..source.len() {
        let class = source.label(index).map_or(classes, |label| label as usize);
        of[class].push((lot(source, index, purpose), index as u32));
    }
    of.iter_mut().for_each(|members| members.sort_unstable());
    of
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Images;

    #[test]
    fn chosen_samples_keep_what_they_are() {
        struct Two(Images);
        impl Source for Two {
            fn len(&self) -> usize {
                self.0.len()
            }
            fn label(&self, index: usize) -> Option<u32> {
                Source::label(&self.0, index)
            }
            fn read(&self, index: usize) -> Result<Stored<'_>> {
                Source::read(&self.0, index)
            }
            fn shards(&self) -> Vec<Range<u32>> {
                vec![0..2, 2..3, 3..6]
            }
        }
        let images = Images { height: 1, width: 1, channels: 1, data: (0..6).collect(), labels: (10..16).collect() };
        let chosen = Chosen::new(Arc::new(Two(images)), vec![1, 3, 5]);
        assert_eq!((chosen.len(), chosen.label(1), chosen.key(2), chosen.place(0)), (3, Some(13), 5, "image 1".into()));
        assert_eq!(chosen.shards(), [0..1, 1..3]);
        let Ok(Stored::Pixels(image)) = chosen.read(2) else { panic!("pixels") };
        assert_eq!(image.data, [5]);
    }
}
