//! What ties data and networks to the training loop, the same for every stage.
#![forbid(unsafe_code)]

mod held_out;
mod launch;
mod weights;

pub use held_out::{HeldOut, Seen};
pub use launch::{Launch, Plan, classifier_result, launch, map_dtype, open};
pub use weights::{Checkpoint, used_parameters};

use anyhow::{Context, Result};
use simclr_core::config::Config;
use simclr_core::disk::file_sha256;
use simclr_core::rng::{Purpose, Rng};
use simclr_core::train::Batches;
use simclr_data::{Batch, Loader};
use simclr_model::SimClr;
use simclr_ops::{Uploaded, Uploader, Value};
use std::sync::Arc;

/// A batch whose images are on their way to where the network is.
pub struct Input {
    /// The images `[N, S, S, C]`, stored as the network's maps are.
    images: Uploaded,
    /// One class an image, where it is known.
    pub labels: Vec<Option<u32>>,
    /// Indices in the dataset.
    pub samples: Vec<u32>,
}

impl Input {
    /// Sends a batch on its way.
    ///
    /// # Errors
    /// When memory is short.
    pub fn send(batch: Batch, uploader: &Uploader) -> Result<Self> {
        let Batch { images, shape, labels, samples, distortions } = batch;
        Ok(Self { images: uploader.upload_views(images, &shape, distortions)?, labels, samples })
    }

    /// The images as a constant, their colours distorted where that was left to the GPU, and what is known of each: labels,
    /// indices.
    ///
    /// # Errors
    /// When the GPU failed at what it was doing.
    pub fn open(self) -> Result<(Value, Vec<Option<u32>>, Vec<u32>)> {
        Ok((Value::constant(self.images.tensor()?), self.labels, self.samples))
    }
}

/// The batches of a loader, as the training loop asks for them, on their way to `model`.
///
/// # Errors
/// When a GPU has no stream left.
pub fn batches(loader: Loader, model: &SimClr) -> Result<Batches<Input>> {
    let uploader = uploader(model)?;
    Ok(Arc::new(move |step| Input::send(loader.batch(step)?, &uploader)))
}

/// What brings images to a network.
///
/// # Errors
/// As [`batches`].
pub fn uploader(model: &SimClr) -> Result<Uploader> {
    Ok(Uploader::new(model.store.device(), model.map_dtype())?)
}

/// The list of labeled images for a label fraction, where the experiment has one, as an input of a run.
///
/// # Errors
/// When the file cannot be read.
pub fn label_list(config: &Config, fraction: f64) -> Result<Option<(String, String)>> {
    let Some(list) = config.data.list(fraction) else { return Ok(None) };
    let hash = file_sha256(&list.file).context("data.lists")?;
    Ok(Some(("label list".into(), hash)))
}

/// The seed of what is repeated over label subsets; subset 0 has the experiment's own.
pub fn subset_seed(seed: u64, subset: usize) -> u64 {
    match subset {
        0 => seed,
        _ => Rng::stream(seed, Purpose::LabelSubset, &[u64::MAX, subset as u64]).next_u64(),
    }
}
