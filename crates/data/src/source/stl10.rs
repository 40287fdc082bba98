//! STL-10 in its binary version: 5 000 labeled training images and 100 000 unlabeled ones, 8 000 test images.
//!
//! The files are 3 GB: images are read where they stand, when they are asked for.

use super::dataset::{Count, Dataset, DatasetInfo};
use super::found::Found;
use super::memory::channels;
use super::read_at::read_at;
use crate::access::{Source, Stored};
use crate::decode::recoloured;
use crate::image::Picture;
use crate::set::Pictures;
use anyhow::{Context, Result, bail, ensure};
use simclr_core::config::DataConfig;
use simclr_core::{bounds, disk};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// STL-10.
pub const DATASET: DatasetInfo = DatasetInfo {
    name: "stl10",
    title: "STL-10",
    about: "STL-10, its binary version: data.dir is the unpacked folder; the unlabeled images are training images, too",
    citation: Some(
        "Coates, Lee, Ng 2011, An analysis of single-layer networks in unsupervised feature learning; https://cs.stanford.edu/~acoates/stl10/",
    ),
    train: Count::Exactly(105_000),
    test: Count::Exactly(8_000),
    classes: Some(CLASSES.len()),
    hub: None,
    of_files: false,
    open: |config| load(config.dir.as_deref(), config),
};

const SIDE: usize = 96;
const PLANE: usize = SIDE * SIDE;
const BYTES: usize = 3 * PLANE;
const FOLDER: &str = "stl10_binary";
const ADVICE: &str = "download stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10/, unpack it, and name the \
                      folder that it makes as data.dir";
/// Classes, in the order of their numbers, which start at 1 in the files.
const CLASSES: [&str; 10] = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"];

/// One file of images: planes of red, green and blue, each column by column.
struct Part {
    path: PathBuf,
    file: File,
    images: usize,
}

impl Part {
    fn open(path: PathBuf) -> Result<Self> {
        let file = disk::open(&path).context(ADVICE)?;
        let bytes = file.metadata().with_context(|| format!("cannot look at {}", path.display()))?.len();
        let images = images_in(bytes).with_context(|| format!("in {}", path.display()))?;
        Ok(Self { path, file, images })
    }
}

/// How many images a file of that many bytes holds.
fn images_in(bytes: u64) -> Result<usize> {
    ensure!(bytes > 0, "the file is empty");
    ensure!(
        bytes.is_multiple_of(BYTES as u64),
        "{bytes} bytes are no whole number of images of {BYTES}: fetch it again"
    );
    Ok(usize::try_from(bytes / BYTES as u64)?)
}

/// Classes from the bytes of a label file.
///
/// # Errors
/// When there are not `images` of them, or one is not in 1..=10.
pub fn parse_labels(bytes: &[u8], images: usize) -> Result<Vec<u32>> {
    ensure!(bytes.len() == images, "{} labels for {images} images", bytes.len());
    let label = |(at, label): (usize, &u8)| match label {
        1..=10 => Ok(u32::from(*label) - 1),
        other => bail!("label {at} is {other}, expected 1 to 10"),
    };
    bytes.iter().enumerate().map(label).collect()
}

/// Rows of interleaved pixels from planes of columns. Both are `3 * 96 * 96` bytes.
fn pixels(planes: &[u8]) -> Vec<u8> {
    (0..BYTES)
        .map(|i| {
            let (pixel, channel) = (i / 3, i % 3);
            planes[channel * PLANE + pixel % SIDE * SIDE + pixel / SIDE]
        })
        .collect()
}

/// Some files one after another; the labels are those of the first images.
struct Stl10 {
    parts: Vec<Part>,
    labels: Vec<u32>,
    len: usize,
    channels: usize,
}

impl Stl10 {
    fn find(&self, index: usize) -> (&Part, usize) {
        let mut at = index;
        for part in &self.parts {
            if at < part.images {
                return (part, at);
            }
            at -= part.images;
        }
        panic!("there is no image {index} of {}", self.len)
    }
}

impl Source for Stl10 {
    fn len(&self) -> usize {
        self.len
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels.get(index).copied()
    }

    fn size(&self) -> Option<(usize, usize)> {
        Some((SIDE, SIDE))
    }

    fn place(&self, index: usize) -> String {
        let (part, at) = self.find(index);
        format!("image {at} of {}", part.path.display())
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        let (part, at) = self.find(index);
        let mut planes = vec![0; BYTES];
        read_at(&part.file, &mut planes, (at * BYTES) as u64).context("cannot read the image")?;
        let data = recoloured(pixels(&planes), 3, self.channels)?;
        Ok(Stored::Read(Picture { height: SIDE, width: SIDE, channels: self.channels, data }))
    }
}

fn split(dir: &Path, name: &str, unlabeled: Option<&str>, channels: usize) -> Result<Stl10> {
    let images = Part::open(dir.join(format!("{name}_X.bin")))?;
    let path = dir.join(format!("{name}_y.bin"));
    let labels = disk::read_small(&path, bounds::SMALL_FILE).context(ADVICE)?;
    let labels = parse_labels(&labels, images.images).with_context(|| format!("in {}", path.display()))?;
    let mut parts = vec![images];
    if let Some(name) = unlabeled {
        parts.push(Part::open(dir.join(name))?);
    }
    let len = parts.iter().map(|part| part.images).sum();
    Ok(Stl10 { parts, labels, len, channels })
}

/// Opens it in `dir` or the archive's folder within. Pretraining sees the labeled and the unlabeled images, whose file
/// may be missing.
///
/// # Errors
/// When files are missing or malformed; the message says what to do.
fn load(dir: Option<&Path>, config: &DataConfig) -> Result<Dataset> {
    let Some(dir) = dir else { bail!("stl10 needs data.dir: {ADVICE}") };
    let inner = dir.join(FOLDER);
    let dir = if inner.is_dir() { inner.as_path() } else { dir };
    let unlabeled = "unlabeled_X.bin";
    let found = dir.join(unlabeled).is_file();
    if !found {
        tracing::warn!("{} has no {unlabeled}: pretraining sees the labeled images alone", dir.display());
    }
    let channels = channels(3, DATASET.name, config)?;
    let train = split(dir, "train", found.then_some(unlabeled), channels)?;
    let test = split(dir, "test", None, channels)?;
    Ok(Dataset {
        name: "stl10".into(),
        classes: CLASSES.map(String::from).into(),
        train: Pictures::new(Arc::new(train), channels, config),
        test: Pictures::new(Arc::new(test), channels, config),
        found: Found::default(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// An image whose red counts rows, green columns, and blue is `blue`.
    fn image(blue: u8) -> Vec<u8> {
        let plane = |value: fn(usize, usize) -> usize| (0..PLANE).map(move |i| value(i % SIDE, i / SIDE) as u8);
        plane(|row, _| row).chain(plane(|_, column| column)).chain([blue; PLANE]).collect()
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join(FOLDER);
        std::fs::create_dir(&inner).unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(inner.join(name), bytes).unwrap();
        write("train_X.bin", &[image(1), image(2)].concat());
        write("train_y.bin", &[10, 1]);
        write("test_X.bin", &image(3));
        write("test_y.bin", &[4]);
        write("unlabeled_X.bin", &[image(4), image(5), image(6)].concat());
        dir
    }

    #[test]
    fn labeled_images_come_first_and_columns_become_rows() {
        let (dir, config) = (folder(), DataConfig::new("stl10", 96));
        let data = load(Some(dir.path()), &config).unwrap();
        assert_eq!((data.train.len(), data.test.len(), data.train.labeled()), (5, 1, 2));
        assert_eq!((0..3).map(|i| data.train.label(i)).collect::<Vec<_>>(), [Some(9), Some(0), None]);
        for i in 0..5 {
            let picture = data.train.get(i).unwrap();
            assert_eq!((picture.height, picture.width), (96, 96));
            let at = |row: usize, column: usize| picture.data[(row * 96 + column) * 3..][..3].to_vec();
            let blue = [1, 2, 4, 5, 6][i];
            assert_eq!([at(0, 0), at(3, 80), at(95, 1)], [[0, 0, blue], [3, 80, blue], [95, 1, blue]], "image {i}");
        }
        assert!(data.train.place(3).contains("image 1 of") && data.train.place(3).ends_with("unlabeled_X.bin"));
        std::fs::remove_file(dir.path().join(FOLDER).join("unlabeled_X.bin")).unwrap();
        assert_eq!(load(Some(&dir.path().join(FOLDER)), &config).unwrap().train.len(), 2);
    }

    #[test]
    fn malformed_files_are_named() {
        let config = DataConfig::new("stl10", 96);
        let message = |dir: &Path| format!("{:#}", load(Some(dir), &config).err().unwrap());
        assert!(format!("{:#}", load(None, &config).err().unwrap()).contains("needs data.dir"));
        assert!(message(Path::new("no/such")).contains("train_X.bin"));
        for (name, bytes, part) in [
            ("train_X.bin", vec![0; BYTES + 1], "no whole number of images"),
            ("test_X.bin", vec![], "the file is empty"),
            ("train_y.bin", vec![1; 3], "3 labels for 2 images"),
            ("test_y.bin", vec![11], "label 0 is 11, expected 1 to 10"),
            ("unlabeled_X.bin", vec![0; 5], "no whole number of images"),
        ] {
            let dir = folder();
            std::fs::write(dir.path().join(FOLDER).join(name), bytes).unwrap();
            let text = message(dir.path());
            assert!(text.contains(part) && text.contains(name), "{text}");
        }
    }
}
