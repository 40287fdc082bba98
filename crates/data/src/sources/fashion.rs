//! Fashion-MNIST: from files, or downloaded from the Hugging Face hub.

use super::{hub, idx};
use crate::dataset::Dataset;
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

const CLASSES: [&str; 10] =
    ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];
/// Where Debian's package puts the files.
const SYSTEM_DIR: &str = "/usr/share/datasets/fashion-mnist";
const HUB_ID: &str = "zalando-datasets/fashion_mnist";

/// Loads it from `dir`, the system's folder, or the hub, in this order.
///
/// # Errors
/// When files are malformed, or when there are none and the download fails; the message says what was tried.
pub fn load(dir: Option<&Path>) -> Result<Dataset> {
    let places: Vec<PathBuf> = dir.map(PathBuf::from).into_iter().chain([SYSTEM_DIR.into()]).collect();
    for place in &places {
        if let Some([train, test]) = idx::load(place)? {
            tracing::debug!("Fashion-MNIST from {}", place.display());
            return Ok(dataset(train, test));
        }
    }
    tracing::info!("downloading Fashion-MNIST from the Hugging Face hub ({HUB_ID})");
    match hub::load(HUB_ID, 1) {
        Ok([train, test]) => Ok(dataset(train, test)),
        Err(error) => {
            let places: Vec<_> = places.iter().map(|place| place.display().to_string()).collect();
            bail!(
                "Fashion-MNIST was not found: no train-images-idx3-ubyte[.gz] and companions in {}, and the download \
                 of {HUB_ID} failed ({error:#}). Run `apt install dataset-fashion-mnist`, or set data.dir to a folder \
                 that holds the four files",
                places.join(" or ")
            )
        }
    }
}

fn dataset(train: crate::Images, test: crate::Images) -> Dataset {
    Dataset { name: "fashion-mnist".into(), classes: CLASSES.map(String::from).into(), train, test }
}
