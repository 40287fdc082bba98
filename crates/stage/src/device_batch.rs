//! Batches on their way to the device of a network.

use anyhow::Result;
use simclr_core::train::BatchFn;
use simclr_data::{Batch, Loader};
use simclr_model::SimClr;
use simclr_ops::{Uploaded, Uploader, Value};
use std::sync::Arc;

/// A batch whose images are on their way to where the network is.
pub struct DeviceBatch {
    /// The images `[N, S, S, C]`, stored as the network's maps are.
    images: Uploaded,
    /// One class an image, where it is known.
    pub labels: Vec<Option<u32>>,
    /// Indices in the dataset.
    pub samples: Vec<u32>,
}

impl DeviceBatch {
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
pub fn device_batches(loader: Loader, model: &SimClr) -> Result<BatchFn<DeviceBatch>> {
    let uploader = uploader(model)?;
    Ok(Arc::new(move |step| DeviceBatch::send(loader.batch(step)?, &uploader)))
}

/// What brings images to a network.
///
/// # Errors
/// As [`device_batches`].
pub fn uploader(model: &SimClr) -> Result<Uploader> {
    Ok(Uploader::new(model.store.device(), model.map_dtype())?)
}
