//! Batches on their way to the device of a network.

use anyhow::Result;
use simclr_core::train::BatchFn;
use simclr_data::{Batch, Loader, Made};
use simclr_model::SimClr;
use simclr_ops::{Pixels, Sent, Uploaded, Uploader, Value};
use std::sync::Arc;

/// A batch whose images are on their way to where the network is.
pub struct DeviceBatch {
    images: Uploaded,
    labels: Vec<Option<u32>>,
    samples: Vec<u32>,
}

/// A batch that is there: what a loss is made from.
pub struct Arrived {
    /// The images `[N, S, S, C]`, stored as the network's maps are; all first views, then all second ones.
    pub images: Value,
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
        let sent = Sent { unfinished: !distortions.is_empty(), ..Sent::default() };
        let images = uploader.upload_as(images, &shape, sent)?;
        Ok(Self { images: images.distorted(distortions, uploader.maps()), labels, samples })
    }

    /// Makes the batch of a step in the memory that it is sent from: every number of a view is written once.
    ///
    /// # Errors
    /// As [`Loader::batch`], and when memory is short.
    pub fn make(loader: &Loader, step: u64, uploader: &Uploader) -> Result<Self> {
        let fill = |pixels: Pixels<'_>| loader.fill(step, pixels);
        let (images, made) = uploader.upload_made(&loader.shape(), loader.sent(), fill)?;
        let Made { labels, samples, distortions } = made?;
        Ok(Self { images: images.distorted(distortions, uploader.maps()), labels, samples })
    }

    /// The batch once it is there, and what transforms left for the GPU is done.
    ///
    /// # Errors
    /// When the GPU failed at what it was doing.
    pub fn arrived(self) -> Result<Arrived> {
        Ok(Arrived { images: Value::constant(self.images.tensor()?), labels: self.labels, samples: self.samples })
    }
}

/// The batches of a loader, as the training loop asks for them, on their way to `model`.
///
/// # Errors
/// When a GPU has no stream left.
pub fn device_batches(loader: Loader, model: &SimClr) -> Result<BatchFn<DeviceBatch>> {
    let uploader = uploader(model)?;
    Ok(Arc::new(move |step| DeviceBatch::make(&loader, step, &uploader)))
}

/// What brings images to a network.
///
/// # Errors
/// As [`device_batches`].
pub fn uploader(model: &SimClr) -> Result<Uploader> {
    Ok(Uploader::new(model.store.device(), model.map_dtype())?)
}
