//! Fashion-MNIST: from files, or downloaded from the Hugging Face hub.

use super::in_memory::InMemory;
use super::{from_hub, idx};
use crate::image::Images;
use crate::source::dataset::{Count, DatasetInfo};
use anyhow::{Result, bail};
use std::path::Path;

/// Fashion-MNIST.
pub const DATASET: DatasetInfo = DatasetInfo {
    name: "fashion-mnist",
    title: "Fashion-MNIST",
    about: "Fashion-MNIST: from data.dir, Debian's package dataset-fashion-mnist, or the Hugging Face hub",
    citation: Some("Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; https://github.com/zalandoresearch/fashion-mnist"),
    train: Count::Exactly(60_000),
    test: Count::Exactly(10_000),
    classes: Some(10),
    hub: Some(HUB_ID),
    of_files: false,
    open: |config| load(config.dir.as_deref())?.checked(config),
};

const CLASSES: [&str; 10] =
    ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];
/// Where Debian's package puts the files.
const SYSTEM_DIR: &str = "/usr/share/datasets/fashion-mnist";
const HUB_ID: &str = "zalando-datasets/fashion_mnist";

/// Loads it from `dir`; without one from the system's folder, or else the hub.
///
/// # Errors
/// When files are malformed, when `dir` holds none, or when there are none and the download fails; the message says what
/// was tried.
fn load(dir: Option<&Path>) -> Result<InMemory> {
    // A folder that the user names is not passed over: training on another copy would go unnoticed.
    let place = dir.unwrap_or(Path::new(SYSTEM_DIR));
    if let Some([train, test]) = idx::load(place)? {
        tracing::debug!("Fashion-MNIST from {}", place.display());
        return Ok(dataset(train, test));
    }
    if dir.is_some() {
        bail!(
            "data.dir = {}: no train-images-idx3-ubyte[.gz] there; name the folder that holds the four files, or leave \
             data.dir out to have Fashion-MNIST found or downloaded",
            place.display()
        )
    }
    tracing::info!("downloading Fashion-MNIST from the Hugging Face hub ({HUB_ID})");
    match from_hub::load(HUB_ID, 1) {
        Ok([train, test]) => Ok(dataset(train, test)),
        Err(error) => bail!(
            "Fashion-MNIST was not found: no train-images-idx3-ubyte[.gz] and companions in {SYSTEM_DIR}, and the \
             download of {HUB_ID} failed ({error:#}). Run `apt install dataset-fashion-mnist`, or set data.dir to a \
             folder that holds the four files"
        ),
    }
}

fn dataset(train: Images, test: Images) -> InMemory {
    InMemory { name: "fashion-mnist".into(), classes: CLASSES.map(String::from).into(), train, test }
}
