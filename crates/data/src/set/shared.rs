//! Pictures that both splits have: files of the same bytes, whatever they are called.

use super::pictures::Pictures;
use crate::access::{Source, Stored};
use rayon::prelude::*;
use serde::Serialize;
use simclr_core::disk;
use std::collections::{HashMap, HashSet};

/// Pairs that are named.
const NAMED: usize = 5;
/// Up to so many pictures, whose candidates have so many bytes, a look takes no time that anybody notices.
const QUICK: (usize, u64) = (50_000, 256 << 20);

/// Pictures that both splits have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// Test pictures that are training pictures, too.
    pub pictures: usize,
    /// Some of them: where each is in training and in test.
    pub some: Vec<(String, String)>,
}

impl Shared {
    /// Finds them: sizes of files are compared first, and the bytes of those that have one of the other split. Where sizes are
    /// not known without reading, all pictures are read. A picture that cannot be read is none of them.
    pub fn of(train: &Pictures, test: &Pictures) -> Self {
        let ([own, other], _) = candidates(train, test);
        Self::among((train, &own), (test, &other))
    }

    /// The same where it is quick: sizes are known, of 50 000 pictures at most, and 256 MiB at most are to be read.
    pub fn quickly(train: &Pictures, test: &Pictures) -> Option<Self> {
        let (pictures, bytes) = QUICK;
        if test.is_empty() || train.len() + test.len() > pictures || train.source().file_size(0).is_none() {
            return None;
        }
        let ([own, other], read) = candidates(train, test);
        (read? <= bytes).then(|| Self::among((train, &own), (test, &other)))
    }

    fn among((train, own): (&Pictures, &[u32]), (test, other): (&Pictures, &[u32])) -> Self {
        let hashes = |pictures: &Pictures, samples: &[u32]| -> Vec<(String, u32)> {
            let hash = |i: &u32| Some((hash(pictures.source(), *i as usize)?, *i));
            samples.par_iter().filter_map(hash).collect()
        };
        // Of several training pictures of the same bytes the first is named.
        let first: HashMap<String, u32> = hashes(train, own).into_iter().rev().collect();
        let mut shared = Self::default();
        for (hash, sample) in hashes(test, other) {
            let Some(twin) = first.get(&hash) else { continue };
            shared.pictures += 1;
            if shared.some.len() < NAMED {
                shared.some.push((train.place(*twin as usize), test.place(sample as usize)));
            }
        }
        shared
    }
}

/// The samples of both splits whose size one of the other split has, and the bytes of all these where sizes are known.
fn candidates(train: &Pictures, test: &Pictures) -> ([Vec<u32>; 2], Option<u64>) {
    let sizes = |pictures: &Pictures| -> Vec<Option<u64>> {
        (0..pictures.len()).into_par_iter().map(|i| pictures.source().file_size(i)).collect()
    };
    let sizes = [sizes(train), sizes(test)];
    let sets = [0, 1].map(|split| sizes[split].iter().copied().collect::<HashSet<_>>());
    let with = |split: usize, other: usize| -> Vec<u32> {
        let any = sets[other].contains(&None);
        let is = |i: &u32| match sizes[split][*i as usize] {
            Some(0) => false,
            Some(size) => any || sets[other].contains(&Some(size)),
            None => !sets[other].is_empty(),
        };
        (0..sizes[split].len() as u32).filter(is).collect()
    };
    let found = [with(0, 1), with(1, 0)];
    let bytes = [0, 1].map(|split| found[split].iter().map(|i| sizes[split][*i as usize]).sum::<Option<u64>>());
    let bytes = bytes[0].zip(bytes[1]).map(|(own, other)| own.saturating_add(other));
    (found, bytes)
}

fn hash(source: &dyn Source, index: usize) -> Option<String> {
    match source.read(index).ok()? {
        Stored::File(bytes) => Some(disk::sha256(&bytes)),
        Stored::Pixels(image) => Some(disk::sha256(image.data)),
        Stored::Read(picture) => Some(disk::sha256(&picture.data)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::image::Images;
    use anyhow::{Result, bail};
    use simclr_core::config::DataConfig;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Files of some bytes; the empty one cannot be read. Counts what is read.
    struct Bytes(Vec<&'static [u8]>, Arc<AtomicUsize>);
    impl Source for Bytes {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn label(&self, _: usize) -> Option<u32> {
            None
        }
        fn file_size(&self, index: usize) -> Option<u64> {
            Some(self.0[index].len() as u64)
        }
        fn read(&self, index: usize) -> Result<Stored<'_>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            if self.0[index] == b"bad" {
                bail!("unreadable")
            }
            Ok(Stored::File(self.0[index].to_vec()))
        }
    }

    #[test]
    fn same_bytes_are_found_and_few_files_are_read() {
        let reads = Arc::new(AtomicUsize::new(0));
        let of = |files: &[&'static [u8]]| {
            Pictures::new(Arc::new(Bytes(files.to_vec(), reads.clone())), 3, &DataConfig::new("folder", 8))
        };
        let train = of(&[b"aa", b"bb", b"", b"a long one", b"bb", b"bad"]);
        let test = of(&[b"bb", b"cc", b"", b"bad", b"other size"]);
        let shared = Shared::of(&train, &test);
        assert_eq!(
            (shared.pictures, shared.some.as_slice()),
            (1, &[("image 1".to_string(), "image 0".to_string())][..])
        );
        assert_eq!(reads.load(Ordering::Relaxed), 9, "the empty ones are not read");
        assert_eq!(Shared::quickly(&train, &test), Some(shared));
        assert_eq!(Shared::of(&train, &of(&[])), Shared::default());
        assert_eq!(reads.load(Ordering::Relaxed), 18, "without others of their size none is read");
        let images = |data: &[u8]| -> Pictures {
            let labels = vec![0; data.len()];
            Images { height: 1, width: 1, channels: 1, data: data.to_vec(), labels }.into()
        };
        assert_eq!(Shared::of(&images(&[1, 2, 3]), &images(&[3, 4])).pictures, 1);
        assert_eq!(Shared::quickly(&images(&[1]), &images(&[1])), None, "sizes are not known");
    }
}
