//! The loss of pretraining: NT-Xent on two views, and an online linear head that the encoder does not feel.
//!
//! The head's loss is lowered beside the contrastive one, which alone is shown as the loss.

use crate::head::{Linear, Normalizer};
use anyhow::Result;
use candle_core::Tensor;
use serde_json::Value as Json;
use simclr_core::config::OnlineHead;
use simclr_core::params::ParamStore;
use simclr_core::train::{Batches, Loss, Task};
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::{Tape, accuracy, nt_xent, partial_cross_entropy};
use simclr_stage::{HeldOut, Input};
use std::collections::BTreeMap;

/// What the log calls the loss of the two views.
pub(crate) const CONTRAST_LOSS: &str = "contrast_loss";
const ONLINE_ACCURACY: &str = "supervised_acc";

/// Pretraining as the training loop sees it.
pub struct Pretrain {
    /// The network; its classifier is the online linear head.
    pub model: SimClr,
    batches: Batches<Input>,
    temperature: f64,
    chunk: Option<usize>,
    test: HeldOut,
    /// What the online head reads through; nothing in the reference's form.
    normalizer: Option<Normalizer>,
}

impl Pretrain {
    /// Pretrains `model` on two views of each image of `batches`, with the online head in the reference's form.
    pub fn new(model: SimClr, batches: Batches<Input>, temperature: f64, test: HeldOut) -> Self {
        Self { model, batches, temperature, chunk: None, test, normalizer: None }
    }

    /// The same, with at most so many images at a time through the network; the loss stays that of the whole batch.
    pub fn in_chunks(self, chunk: Option<usize>) -> Self {
        Self { chunk, ..self }
    }

    /// The same, with an online head, where there is one, of another form; `rate` is the highest learning rate.
    ///
    /// # Errors
    /// When memory is short.
    pub fn with_head(mut self, form: OnlineHead, rate: f64) -> Result<Self> {
        self.normalizer = match (&self.model.classifier, form) {
            (Some(_), OnlineHead::Normalized) => {
                Some(Normalizer::new(self.model.encoder.features(), rate, self.model.store.device())?)
            }
            _ => None,
        };
        Ok(self)
    }

    /// Gives the classifier the numbers with which it reads features as they are; back come those that it trains with.
    fn fold_head(&self) -> Result<Option<Linear>> {
        let Some(normalizer) = &self.normalizer else { return Ok(None) };
        let head = Linear::of(&self.model.store)?;
        normalizer.folded(&head)?.write(&self.model.store)?;
        Ok(Some(head))
    }
}

impl Task for Pretrain {
    type Batch = Input;

    fn store(&self) -> &ParamStore {
        &self.model.store
    }

    fn batches(&self) -> Batches<Input> {
        self.batches.clone()
    }

    fn loss(&mut self, tape: &Tape, batch: Input) -> Result<Loss> {
        let (images, labels, _) = batch.open()?;
        let pass = Pass::new(tape, &self.model.store, Mode::Train);
        let (features, hidden) = self.model.project(&pass, &images, self.chunk)?;
        let contrast = nt_xent(tape, &hidden, self.temperature, true)?;
        let mut metrics = vec![
            (CONTRAST_LOSS, contrast.loss.tensor().clone()),
            ("contrast_acc", contrast.accuracy),
            ("contrast_entropy", contrast.entropy),
        ];
        let Some(head) = &self.model.classifier else {
            return Ok(Loss { value: contrast.loss, beside: None, metrics });
        };
        // The head learns to read the features and must not shape them. Both views of an image have its label.
        let features = match &self.normalizer {
            Some(normalizer) => normalizer.forward(tape, &features)?,
            None => features,
        };
        let logits = head.forward(&pass, &features)?;
        let labels = [labels.as_slice(), &labels].concat();
        let supervised = partial_cross_entropy(tape, &logits, &labels)?;
        metrics.push(("supervised_loss", supervised.tensor().clone()));
        // A batch of mostly unlabeled images may hold no label at all.
        if labels.iter().any(Option::is_some) {
            metrics.push((ONLINE_ACCURACY, accuracy(logits.tensor(), &labels, 1)?));
        }
        Ok(Loss { value: contrast.loss, beside: Some(supervised), metrics })
    }

    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>> {
        // Without labels there is nothing to measure: the loss says how far pretraining has come.
        if self.model.classifier.is_none() || self.test.is_empty() {
            return Ok(Vec::new());
        }
        let trained = self.fold_head()?;
        let metrics = self.test.metrics(&self.model);
        trained.map_or(Ok(()), |head| head.write(&self.model.store))?;
        metrics
    }

    fn watched(&self) -> Option<(&'static str, &'static str)> {
        Some((ONLINE_ACCURACY, "online accuracy"))
    }

    /// The checkpoint's classifier is a plain linear layer.
    fn finish(&mut self) -> Result<()> {
        self.fold_head().map(drop)
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        self.normalizer.as_ref().map_or_else(|| Ok(BTreeMap::new()), Normalizer::state)
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.normalizer.as_ref().map_or(Ok(()), |normalizer| normalizer.restore(state))
    }

    fn model_config(&self) -> Json {
        self.model.spec.to_json()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::config::Config;
    use simclr_data::Batch;
    use simclr_model::ModelSpec;
    use simclr_ops::weighted_sum;
    use simclr_stage::uploader;
    use std::path::Path;
    use std::sync::Arc;

    const SIDE: usize = 16;
    const IMAGES: usize = 8;

    /// The loss that is shown and the metric of the contrastive one, and the gradients of all weights but the head's.
    fn step(classes: usize, form: OnlineHead) -> ((f32, f32), Vec<Vec<f32>>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/quickstart.toml");
        let config = Config::load(&path, &["model.width=0.125".into()]).unwrap();
        let model = SimClr::new(&ModelSpec::new(&config.model, 3, SIDE, classes, 0), 1).unwrap();
        let uploader = uploader(&model).unwrap();
        let images = (0..2 * IMAGES * SIDE * SIDE * 3).map(|i| (i * i % 253) as f32 / 253.0).collect();
        let labels = (0..IMAGES as u32).map(|i| Some(i % 3)).collect();
        let shape = [2 * IMAGES, SIDE, SIDE, 3];
        let batch = Batch { images, labels, samples: (0..IMAGES as u32).collect(), shape, distortions: Vec::new() };
        let batches: Batches<Input> = Arc::new(move |_| Input::send(batch.clone(), &uploader));
        let images = simclr_data::source::memory::textures::split(1, 4);
        let test = HeldOut::new(&config, Arc::new(images.into()));
        let mut task = Pretrain::new(model, batches.clone(), 0.2, test).with_head(form, 0.3).unwrap();
        let tape = Tape::new();
        let loss = task.loss(&tape, batches(0).unwrap()).unwrap();
        let scalar = |t: &Tensor| t.to_scalar::<f32>().unwrap();
        let contrast = loss.metrics.iter().find(|(name, _)| *name == CONTRAST_LOSS).map(|(_, t)| scalar(t)).unwrap();
        let shown = scalar(loss.value.tensor());
        let lowered = match &loss.beside {
            Some(beside) => weighted_sum(&tape, &[(1.0, &loss.value), (1.0, beside)]).unwrap(),
            None => loss.value,
        };
        let gradients = tape.backward(&lowered).unwrap();
        let body = task.model.store.trainable().filter(|p| !p.name.starts_with("fc."));
        let numbers = body.map(|p| gradients.get(&p.tensor).unwrap().flatten_all().unwrap().to_vec1().unwrap());
        ((shown, contrast), numbers.collect())
    }

    #[test]
    fn the_head_changes_neither_the_loss_that_is_shown_nor_the_encoder() {
        let alone = step(0, OnlineHead::Normalized);
        assert_eq!(alone.0.0, alone.0.1, "the loss is the contrastive one");
        for form in [OnlineHead::Normalized, OnlineHead::Reference] {
            let watched = step(3, form);
            assert_eq!(watched.0, alone.0, "{form:?}: losses");
            assert!(watched.1 == alone.1, "{form:?}: gradients");
        }
    }
}
