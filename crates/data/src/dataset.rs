//! An image dataset with its two splits, and the choice of its source.

use crate::pictures::Pictures;
use crate::sources::{cifar, fashion, idx, splits, stl10, textures};
use anyhow::{Context, Result, bail, ensure};
use simclr_core::config::DataConfig;

/// Names that `data.dataset` may have.
const NAMES: [&str; 9] =
    ["textures", "fashion-mnist", "idx", "cifar10", "cifar100", "stl10", "folder", "tar", "parquet"];

/// How images get their labels.
const ADVICE: &str = "one folder a class, a .cls file beside each image of a tar shard, or a label column";

/// Images of one size, with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// `[N, H, W, C]`.
    pub data: Vec<u8>,
    /// `[N]`, each below the number of classes.
    pub labels: Vec<u32>,
}

/// One image: `[H, W, C]` bytes.
#[derive(Clone, Copy, Debug)]
pub struct ImageRef<'a> {
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// `[H, W, C]`.
    pub data: &'a [u8],
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The image at `index`.
    ///
    /// # Panics
    /// When there are not that many.
    pub fn get(&self, index: usize) -> ImageRef<'_> {
        let bytes = self.height * self.width * self.channels;
        let data = &self.data[index * bytes..][..bytes];
        ImageRef { height: self.height, width: self.width, channels: self.channels, data }
    }

    /// Keeps the first `count` images.
    pub fn truncate(&mut self, count: usize) {
        self.labels.truncate(count);
        self.data.truncate(count * self.height * self.width * self.channels);
    }
}

/// A dataset in memory with its two splits, which share image size and classes.
#[derive(Clone, Debug)]
pub struct InMemory {
    /// As in `data.dataset`.
    pub name: String,
    /// Names of the classes; a label is an index into them.
    pub classes: Vec<String>,
    /// What may be learned from.
    pub train: Images,
    /// What is measured on.
    pub test: Images,
}

/// A dataset with its two splits, which share channels and classes.
pub struct Dataset {
    /// As in `data.dataset`.
    pub name: String,
    /// Names of the classes; a label is an index into them. None where no image has a label.
    pub classes: Vec<String>,
    /// What may be learned from.
    pub train: Pictures,
    /// What is measured on; none where the dataset has no such split.
    pub test: Pictures,
}

impl Dataset {
    /// Checks that there are labels to learn from and to measure on; `what` names the stage that needs them.
    ///
    /// # Errors
    /// When either is missing; the message says which, and what to do.
    pub fn expect_labels(&self, what: &str) -> Result<()> {
        ensure!(
            self.train.labeled() > 0,
            "{what} learns from labels, and none of the {} training images has one: give {ADVICE}",
            self.train.len()
        );
        self.expect_test(what)
    }

    /// Checks that there are labeled images to measure accuracy on.
    ///
    /// # Errors
    /// As [`Dataset::expect_labels`].
    pub fn expect_test(&self, what: &str) -> Result<()> {
        ensure!(
            !self.test.is_empty(),
            "{what} measures accuracy on test images, and the dataset has none: name them by data.test"
        );
        ensure!(
            self.test.labeled() > 0,
            "{what} measures accuracy, and none of the {} test images has a label: give {ADVICE}",
            self.test.len()
        );
        Ok(())
    }
}

/// Opens the dataset that the configuration names, with `data.limit` applied to the training split.
///
/// # Errors
/// When the name is unknown, or when files are missing or malformed; the message says what to do.
pub fn load(config: &DataConfig) -> Result<Dataset> {
    let dir = config.dir.as_deref();
    let mut dataset = match config.dataset.as_str() {
        "textures" => in_memory(textures::load(), config)?,
        "fashion-mnist" => in_memory(fashion::load(dir)?, config)?,
        "idx" => in_memory(idx::dataset(dir)?, config)?,
        "cifar10" => in_memory(cifar::load(cifar::CIFAR10, dir)?, config)?,
        "cifar100" => in_memory(cifar::load(cifar::CIFAR100, dir)?, config)?,
        "stl10" => {
            only_files(config)?;
            stl10::load(dir, config)?
        }
        "folder" | "tar" | "parquet" => splits::load(config)?,
        other => bail!("data.dataset = \"{other}\": must be one of {}", NAMES.join(", ")),
    };
    if let Some(limit) = config.limit {
        ensure!(limit > 0, "data.limit = 0: must be at least 1; leave it out to use all images");
        dataset.train.truncate(limit);
    }
    Ok(dataset)
}

/// Keys of the configuration that say how files of pictures are found and read must not stand elsewhere unheard.
fn only_files(config: &DataConfig) -> Result<()> {
    let stray = [
        ("hub", config.hub.is_some()),
        ("train", config.train.is_some()),
        ("test", config.test.is_some()),
        ("lists", !config.lists.is_empty()),
    ];
    match stray.iter().find(|(_, set)| *set) {
        Some((key, _)) => bail!(
            "data.{key} is for files of pictures: data.dataset = \"folder\", \"tar\" or \"parquet\", not \"{}\"",
            config.dataset
        ),
        None => Ok(()),
    }
}

fn in_memory(dataset: InMemory, config: &DataConfig) -> Result<Dataset> {
    only_files(config)?;
    for (split, images) in [("training", &dataset.train), ("test", &dataset.test)] {
        check(images, dataset.classes.len()).with_context(|| format!("the {split} images of {}", dataset.name))?;
    }
    let InMemory { name, classes, train, test } = dataset;
    Ok(Dataset { name, classes, train: train.into(), test: test.into() })
}

fn check(images: &Images, classes: usize) -> Result<()> {
    let expected = images.len() * images.height * images.width * images.channels;
    ensure!(!images.is_empty(), "there are none");
    ensure!(images.data.len() == expected, "{} bytes of pixels, expected {expected}", images.data.len());
    if let Some(at) = images.labels.iter().position(|&label| label as usize >= classes) {
        bail!("image {at} has label {}, but there are {classes} classes", images.labels[at])
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(dataset: &str, limit: Option<usize>) -> DataConfig {
        DataConfig { limit, ..DataConfig::new(dataset, 32) }
    }

    #[test]
    fn names_and_limits() {
        let message = load(&config("cifar-10", None)).err().unwrap().to_string();
        assert_eq!(
            message,
            "data.dataset = \"cifar-10\": must be one of textures, fashion-mnist, idx, cifar10, cifar100, stl10, folder, \
             tar, parquet"
        );
        assert!(load(&config("textures", Some(0))).is_err());
        let data = load(&config("textures", Some(25))).unwrap();
        assert_eq!((data.train.len(), data.train.channels(), data.test.len()), (25, 3, 2000));
        assert!(data.train.get(24).is_ok() && data.train.get(25).is_err());
    }

    #[test]
    fn keys_of_files_do_not_stand_unheard() {
        let config = DataConfig { train: Some("train".into()), ..DataConfig::new("textures", 32) };
        let message = load(&config).err().unwrap().to_string();
        assert!(message.contains("data.train is for files") && message.contains("\"textures\""), "{message}");
    }

    #[test]
    fn labels_out_of_range_are_found() {
        let images = Images { height: 1, width: 1, channels: 1, data: vec![0, 0], labels: vec![0, 2] };
        assert!(check(&images, 2).unwrap_err().to_string().contains("image 1 has label 2"));
        assert!(check(&images, 3).is_ok());
    }
}
