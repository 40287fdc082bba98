//! Labeled images through the evaluation view, in order, and accuracy on them.

use crate::device_batch::uploader;
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use simclr_core::config::Config;
use simclr_core::train::ACCURACY;
use simclr_data::{Pictures, ViewMaker, eval_batches};
use simclr_model::{Accuracy, SimClr};
use simclr_ops::Sent;
use std::sync::Arc;

/// Names of the figures in the log.
pub(crate) const TOP1: &str = ACCURACY;
pub(crate) const TOP5: &str = "test_top5";

/// Images with their labels, seen through the evaluation view. Images without a label are left out.
pub struct EvalSet {
    pictures: Arc<Pictures>,
    samples: Vec<u32>,
    maker: ViewMaker,
    batch: usize,
    sent: Sent,
}

/// What was seen of such images: one entry an image, in order. Damaged images have none.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Indices in their set.
    pub samples: Vec<u32>,
    /// Their classes.
    pub labels: Vec<u32>,
}

/// How finished views of these pictures are sent to a GPU: as bytes where they hold bytes of the pictures, which changes
/// no bit.
fn sent(pictures: &Pictures, maker: &ViewMaker) -> Sent {
    Sent { bytes: pictures.size().is_some_and(|size| maker.keeps_pixels(size, false)), unfinished: false }
}

impl EvalSet {
    /// The labeled ones of `pictures`, cropped as `eval.crop` says.
    pub fn new(config: &Config, pictures: Arc<Pictures>) -> Self {
        let samples = (0..pictures.len()).filter(|i| pictures.label(*i).is_some()).map(|i| i as u32).collect();
        let maker = ViewMaker::eval(&config.eval, config.data.image_size);
        let sent = sent(&pictures, &maker);
        Self { pictures, samples, maker, batch: config.eval.batch, sent }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Batches of views `[N, S, S, C]` for `model`, in order. `seen` is told which images they hold, as they are made.
    ///
    /// # Errors
    /// When a GPU has no stream left.
    pub fn batches<'a>(
        &'a self,
        model: &SimClr,
        seen: &'a mut Seen,
    ) -> Result<impl Iterator<Item = Result<Tensor>> + use<'a>> {
        let uploader = uploader(model)?;
        Ok(eval_batches(&self.pictures, &self.samples, &self.maker, self.batch).map(move |batch| {
            let batch = batch?;
            seen.labels.extend(batch.all_labels()?);
            seen.samples.extend(&batch.samples);
            Ok(uploader.upload_as(batch.images, &batch.shape, self.sent)?.tensor()?)
        }))
    }

    /// Accuracy of the network's classifier.
    ///
    /// # Errors
    /// When the network has none, or the images do not fit it or cannot be decoded.
    pub fn accuracy(&self, model: &SimClr) -> Result<Accuracy> {
        let mut seen = Seen::default();
        let logits = model.predict(self.batches(model, &mut seen)?).context("on the test images")?;
        ensure!(!seen.labels.is_empty(), "there is no labeled test image that can be decoded");
        Ok(Accuracy::of(&logits, model.spec.classes, &seen.labels))
    }

    /// The same as named figures for the log.
    ///
    /// # Errors
    /// As [`EvalSet::accuracy`].
    pub fn metrics(&self, model: &SimClr) -> Result<Vec<(&'static str, f64)>> {
        let accuracy = self.accuracy(model)?;
        Ok(vec![(TOP1, accuracy.top1), (TOP5, accuracy.top5)])
    }
}
