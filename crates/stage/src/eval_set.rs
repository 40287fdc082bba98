//! Labeled images through the evaluation view, in order, and accuracy on them.

use crate::device_batch::uploader;
use crate::gathered;
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use simclr_core::config::Config;
use simclr_core::train::ACCURACY;
use simclr_data::{Pictures, ViewMaker, eval_batches};
use simclr_model::{Accuracy, Hits, SimClr};
use simclr_ops::{Group, Sent};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Names of the figures in the log.
pub(crate) const TOP1: &str = ACCURACY;
pub(crate) const TOP5: &str = "test_top5";

/// Images with their labels, seen through the evaluation view. Images without a label are left out.
///
/// Several ranks share them: each looks at its part, and what all have seen is put together on each, in the order of the
/// images, so that figures are those of one process. A rank may have no image at all.
pub struct EvalSet {
    pictures: Arc<Pictures>,
    /// Of all ranks.
    samples: Vec<u32>,
    maker: ViewMaker,
    batch: usize,
    sent: Sent,
    group: Group,
    /// Damaged images of other ranks that the log names already.
    told: Mutex<BTreeSet<String>>,
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
    /// The labeled ones of `pictures`, cropped as `eval.crop` says, which the ranks of `group` share.
    pub fn new(config: &Config, pictures: Arc<Pictures>, group: &Group) -> Self {
        let samples = (0..pictures.len()).filter(|i| pictures.label(*i).is_some()).map(|i| i as u32).collect();
        let maker = ViewMaker::eval(&config.eval, config.data.image_size);
        let sent = sent(&pictures, &maker);
        let (batch, group, told) = (config.eval.batch, group.clone(), Mutex::default());
        Self { pictures, samples, maker, batch, sent, group, told }
    }

    /// The same images, shared by the ranks of `group`.
    pub fn among(self, group: &Group) -> Self {
        Self { group: group.clone(), ..self }
    }

    /// Whether there is none on any rank.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Batches of views `[N, S, S, C]` of this rank's images for `model`, in order. `seen` is told which images they hold, as
    /// they are made.
    fn batches<'a>(
        &'a self,
        model: &SimClr,
        seen: &'a mut Seen,
    ) -> Result<impl Iterator<Item = Result<Tensor>> + use<'a>> {
        let uploader = uploader(model)?;
        let own = &self.samples[self.group.part(self.samples.len())];
        Ok(eval_batches(&self.pictures, own, &self.maker, self.batch).map(move |batch| {
            let batch = batch?;
            seen.labels.extend(batch.all_labels()?);
            seen.samples.extend(&batch.samples);
            Ok(uploader.upload_as(batch.images, &batch.shape, self.sent)?.tensor()?)
        }))
    }

    /// What the head layer `selector` of `model` gives for each image, row-major `[N, D]` (0: the encoder's features), and which
    /// images those are: on every rank, those of all.
    ///
    /// # Errors
    /// When the images do not fit the network or the machine fails to read them, or a rank has ended.
    pub fn features(&self, model: &SimClr, selector: i64) -> Result<(Vec<f32>, Seen)> {
        let mut seen = Seen::default();
        let rows = model.features(self.batches(model, &mut seen)?, selector)?;
        self.tell_damaged()?;
        let group = &self.group;
        let Seen { samples, labels } = seen;
        let seen = Seen { samples: gathered::indices(group, samples)?, labels: gathered::indices(group, labels)? };
        Ok((gathered::floats(group, rows)?, seen))
    }

    /// Accuracy of the network's classifier.
    ///
    /// # Errors
    /// When the network has none, or the images do not fit it or cannot be decoded, or a rank has ended.
    pub fn accuracy(&self, model: &SimClr) -> Result<Accuracy> {
        let mut seen = Seen::default();
        let logits = model.predict(self.batches(model, &mut seen)?).context("on the test images")?;
        self.tell_damaged()?;
        let hits = Hits::of(&logits, model.spec.classes, &seen.labels).of_all_ranks(&self.group)?;
        ensure!(hits.images > 0, "there is no labeled test image that can be decoded");
        Ok(hits.accuracy())
    }

    /// The same as named figures for the log.
    ///
    /// # Errors
    /// As [`EvalSet::accuracy`].
    pub fn metrics(&self, model: &SimClr) -> Result<Vec<(&'static str, f64)>> {
        let accuracy = self.accuracy(model)?;
        Ok(vec![(TOP1, accuracy.top1), (TOP5, accuracy.top5)])
    }

    /// Names in the log of the rank that leads what the others had to leave out: theirs is not seen.
    fn tell_damaged(&self) -> Result<()> {
        if self.group.is_alone() {
            return Ok(());
        }
        let own = if self.group.leads() { Vec::new() } else { self.pictures.reasons() };
        let all =
            gathered::texts(&self.group, own.into_iter().map(|(place, why)| format!("{place}: {why}")).collect())?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for damaged in all {
            if !told.contains(&damaged) {
                tracing::warn!("skipped {damaged}");
                told.insert(damaged);
            }
        }
        Ok(())
    }
}
