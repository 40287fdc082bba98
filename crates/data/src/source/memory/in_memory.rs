//! A dataset in memory with its two splits, and what holds of it.

use crate::decode::recoloured;
use crate::image::Images;
use crate::source::dataset::Dataset;
use crate::source::found::Found;
use anyhow::{Context, Result, bail, ensure};
use simclr_core::config::DataConfig;

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

impl InMemory {
    /// The dataset as stages know it, with the channels that `data.channels` names, or its own.
    ///
    /// # Errors
    /// When a split is empty, has more or fewer pixels than its shape says, or a label past the classes; when its channels
    /// cannot be made those of `data.channels`.
    pub fn checked(self, config: &DataConfig) -> Result<Dataset> {
        let Self { name, classes, train, test } = self;
        for (split, images) in [("training", &train), ("test", &test)] {
            check(images, classes.len()).with_context(|| format!("the {split} images of {name}"))?;
        }
        let own = train.channels;
        let channels = channels(own, &name, config)?;
        let made = |images: Images| -> Result<Images> {
            Ok(Images { channels, data: recoloured(images.data, own, channels)?, ..images })
        };
        let (train, test) = (made(train)?, made(test)?);
        Ok(Dataset { name, classes, train: train.into(), test: test.into(), found: Found::default() })
    }
}

/// The channels that a dataset of `own` channels is seen in.
///
/// # Errors
/// When `data.channels` names other ones than gray or colour: only these are made of one another.
pub(crate) fn channels(own: usize, name: &str, config: &DataConfig) -> Result<usize> {
    let asked = config.channels.unwrap_or(own);
    ensure!(
        asked == own || matches!((own, asked), (1, 3) | (3, 1)),
        "data.channels = {asked}: the pictures of {name} have {own}; leave it out, or ask for 1 (gray) or 3 (colour)"
    );
    Ok(asked)
}

fn check(images: &Images, classes: usize) -> Result<()> {
    let expected = images.len() * images.height * images.width * images.channels;
    ensure!(!images.is_empty(), "there are none");
    ensure!(images.height > 0 && images.width > 0, "they have {}x{} pixels", images.height, images.width);
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

    #[test]
    fn labels_out_of_range_are_found() {
        let images = Images { height: 1, width: 1, channels: 1, data: vec![0, 0], labels: vec![0, 2] };
        assert!(check(&images, 2).unwrap_err().to_string().contains("image 1 has label 2"));
        assert!(check(&images, 3).is_ok());
    }

    #[test]
    fn channels_are_what_the_key_names_and_else_the_datasets_own() {
        let opened = |own: usize, asked: Option<usize>| {
            let images =
                Images { height: 1, width: 2, channels: own, data: (0..2 * own as u8).collect(), labels: vec![0] };
            let dataset =
                InMemory { name: "few".into(), classes: vec!["a".into()], train: images.clone(), test: images };
            dataset.checked(&DataConfig { channels: asked, ..DataConfig::new("few", 8) })
        };
        let pixels = |own, asked| {
            let data = opened(own, asked).unwrap();
            assert_eq!((data.train.channels(), data.test.channels()), (asked.unwrap_or(own), asked.unwrap_or(own)));
            assert_eq!(data.train.get(0).unwrap(), data.test.get(0).unwrap());
            data.train.get(0).unwrap().data
        };
        assert_eq!((pixels(1, None), pixels(1, Some(1))), (vec![0, 1], vec![0, 1]));
        assert_eq!(pixels(1, Some(3)), [0, 0, 0, 1, 1, 1]);
        assert_eq!((pixels(3, None), pixels(3, Some(3))), ((0..6).collect(), (0..6).collect()));
        assert_eq!(pixels(3, Some(1)), [1, 4]);
        let message = opened(3, Some(5)).err().unwrap().to_string();
        assert!(message.contains("data.channels = 5: the pictures of few have 3"), "{message}");
    }
}
