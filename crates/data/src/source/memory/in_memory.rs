//! A dataset in memory with its two splits, and what holds of it.

use crate::image::Images;
use crate::source::dataset::Dataset;
use crate::source::found::Found;
use anyhow::{Context, Result, bail, ensure};

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
    /// The dataset as stages know it.
    ///
    /// # Errors
    /// When a split is empty, has more or fewer pixels than its shape says, or a label past the classes.
    pub fn checked(self) -> Result<Dataset> {
        let Self { name, classes, train, test } = self;
        for (split, images) in [("training", &train), ("test", &test)] {
            check(images, classes.len()).with_context(|| format!("the {split} images of {name}"))?;
        }
        Ok(Dataset { name, classes, train: train.into(), test: test.into(), found: Found::default() })
    }
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

    #[test]
    fn labels_out_of_range_are_found() {
        let images = Images { height: 1, width: 1, channels: 1, data: vec![0, 0], labels: vec![0, 2] };
        assert!(check(&images, 2).unwrap_err().to_string().contains("image 1 has label 2"));
        assert!(check(&images, 3).is_ok());
    }
}
