//! A labelled image dataset in memory, and the choice of its source.

use crate::sources::{cifar, fashion, textures};
use anyhow::{Context, Result, bail, ensure};
use simclr_core::config::DataConfig;

/// Names that `data.dataset` may have.
const NAMES: [&str; 4] = ["textures", "fashion-mnist", "cifar10", "cifar100"];

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

/// A dataset with its two splits, which share image size and classes.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// As in `data.dataset`.
    pub name: String,
    /// Names of the classes; a label is an index into them.
    pub classes: Vec<String>,
    /// What may be learned from.
    pub train: Images,
    /// What is measured on.
    pub test: Images,
}

/// Loads the dataset that the configuration names, with `data.limit` applied to the training split.
///
/// # Errors
/// When the name is unknown, or when files are missing or malformed; the message says what to do.
pub fn load(config: &DataConfig) -> Result<Dataset> {
    let dir = config.dir.as_deref();
    let mut dataset = match config.dataset.as_str() {
        "textures" => textures::load(),
        "fashion-mnist" => fashion::load(dir)?,
        "cifar10" => cifar::load(cifar::CIFAR10, dir)?,
        "cifar100" => cifar::load(cifar::CIFAR100, dir)?,
        other => bail!("data.dataset = \"{other}\": must be one of {}", NAMES.join(", ")),
    };
    for (split, images) in [("training", &dataset.train), ("test", &dataset.test)] {
        check(images, dataset.classes.len()).with_context(|| format!("the {split} images of {}", dataset.name))?;
    }
    if let Some(limit) = config.limit {
        ensure!(limit > 0, "data.limit = 0: must be at least 1; leave it out to use all images");
        dataset.train.truncate(limit);
    }
    Ok(dataset)
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
        DataConfig { dataset: dataset.into(), dir: None, image_size: 32, limit, prefetch: 1 }
    }

    #[test]
    fn names_and_limits() {
        let message = load(&config("cifar-10", None)).unwrap_err().to_string();
        assert_eq!(message, "data.dataset = \"cifar-10\": must be one of textures, fashion-mnist, cifar10, cifar100");
        assert!(load(&config("textures", Some(0))).is_err());
        let data = load(&config("textures", Some(25))).unwrap();
        assert_eq!((data.train.len(), data.train.data.len(), data.test.len()), (25, 25 * 3072, 2000));
    }

    #[test]
    fn labels_out_of_range_are_found() {
        let images = Images { height: 1, width: 1, channels: 1, data: vec![0, 0], labels: vec![0, 2] };
        assert!(check(&images, 2).unwrap_err().to_string().contains("image 1 has label 2"));
        assert!(check(&images, 3).is_ok());
    }
}
