//! Held-out images: evaluation views in order, and accuracy on them.

use anyhow::Result;
use candle_core::{Device, Tensor};
use simclr_core::config::Config;
use simclr_data::{Images, ViewMaker, eval_batches};
use simclr_model::{Accuracy, SimClr};
use std::sync::Arc;

/// Names of the figures in the log.
pub(crate) const TOP1: &str = "test_top1";
pub(crate) const TOP5: &str = "test_top5";

/// Images with their labels, seen through the evaluation view.
pub struct HeldOut {
    images: Arc<Images>,
    samples: Vec<u32>,
    maker: ViewMaker,
    batch: usize,
}

impl HeldOut {
    /// All of `images`, cropped as `eval.crop` says.
    pub fn new(config: &Config, images: Arc<Images>) -> Self {
        let samples = (0..images.len() as u32).collect();
        let maker = ViewMaker::eval(&config.eval, config.data.image_size);
        Self { images, samples, maker, batch: config.eval.batch }
    }

    /// One label an image, in order.
    pub fn labels(&self) -> &[u32] {
        &self.images.labels
    }

    /// Batches of views `[N, S, S, C]`, in order.
    pub fn batches(&self) -> impl Iterator<Item = Result<Tensor>> + '_ {
        eval_batches(&self.images, &self.samples, &self.maker, self.batch)
            .map(|batch| Ok(Tensor::from_vec(batch.images, &batch.shape, &Device::Cpu)?))
    }

    /// Accuracy of the network's classifier.
    ///
    /// # Errors
    /// When the network has none, or the images do not fit it.
    pub fn accuracy(&self, model: &SimClr) -> Result<Accuracy> {
        model.accuracy(self.batches(), self.labels())
    }

    /// The same as named figures for the log.
    ///
    /// # Errors
    /// As [`HeldOut::accuracy`].
    pub fn metrics(&self, model: &SimClr) -> Result<Vec<(&'static str, f64)>> {
        let accuracy = self.accuracy(model)?;
        Ok(vec![(TOP1, accuracy.top1), (TOP5, accuracy.top5)])
    }
}
