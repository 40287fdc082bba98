//! One look at each picture of an experiment: what the classifier says, the pretrained encoder's features, its pixels in short.

use super::prints::Print;
use crate::apply::once;
use anyhow::Result;
use candle_core::Tensor;
use simclr_core::cli::Progress;
use simclr_data::{Pictures, ViewMaker, eval_batches};
use simclr_model::SimClr;
use simclr_stage::uploader;
use std::time::Instant;

/// The networks, and how they are shown pictures.
pub struct Eye<'a> {
    /// The classifier, where one was trained.
    pub classifier: Option<&'a SimClr>,
    /// The pretrained network, whose features are kept.
    pub encoder: &'a SimClr,
    /// The evaluation view.
    pub maker: ViewMaker,
    /// Images a forward pass.
    pub batch: usize,
}

/// What was seen of some pictures; damaged ones have no entry.
#[derive(Default)]
pub struct Seen {
    /// Their indices.
    pub samples: Vec<u32>,
    /// Their pixels in short.
    pub prints: Vec<Print>,
    /// Of which of them the features are kept, as places in `samples`.
    pub kept: Vec<usize>,
    /// The features of those `[K, D]`.
    pub features: Vec<f32>,
}

impl Eye<'_> {
    /// Looks at `samples` in order, hands each one's logits (none without a classifier) to `judge`, and keeps the features of those in `keep`
    /// (ascending).
    ///
    /// # Errors
    /// When the networks do not fit the pictures, or the machine fails to read them.
    pub fn look(
        &self,
        pictures: &Pictures,
        (samples, keep): (&[u32], &[u32]),
        progress: &mut Progress,
        mut judge: impl FnMut(u32, &[f32]),
    ) -> Result<Seen> {
        let (mut seen, uploader, clock) = (Seen::default(), uploader(self.encoder)?, Instant::now());
        for batch in eval_batches(pictures, samples, &self.maker, self.batch) {
            let batch = batch?;
            let [_, side, _, channels] = batch.shape;
            for view in batch.images.chunks(side * side * channels) {
                seen.prints.push(Print::of(view, side, channels));
            }
            let images = uploader.upload(batch.images, &batch.shape)?.tensor()?;
            match self.classifier {
                None => batch.samples.iter().for_each(|sample| judge(*sample, &[])),
                Some(classifier) => {
                    let logits = classifier.predict(once(images.clone()))?;
                    let rows = logits.chunks(classifier.spec.classes);
                    batch.samples.iter().zip(rows).for_each(|(sample, row)| judge(*sample, row));
                }
            }
            let kept: Vec<u32> = (0..batch.samples.len() as u32)
                .filter(|i| keep.binary_search(&batch.samples[*i as usize]).is_ok())
                .collect();
            if !kept.is_empty() {
                seen.kept.extend(kept.iter().map(|i| seen.samples.len() + *i as usize));
                let rows = Tensor::from_vec(kept.clone(), kept.len(), images.device())?;
                let images = if kept.len() == batch.samples.len() { images } else { images.index_select(&rows, 0)? };
                seen.features.extend(self.encoder.features(once(images), 0)?);
            }
            seen.samples.extend(&batch.samples);
            let done = seen.samples.len();
            progress.update(done as u64, done as f64 / clock.elapsed().as_secs_f64().max(1e-9), None, None);
        }
        Ok(seen)
    }
}
