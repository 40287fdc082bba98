//! Pretraining as a stage: an objective on views, and an online linear head that the encoder does not feel.
//!
//! The head's loss is lowered beside the objective's, which alone is shown as the loss.

use crate::head::{Linear, Normalizer};
use crate::objective::{Learned, Objective, Views};
use anyhow::Result;
use candle_core::Tensor;
use simclr_core::config::OnlineHead;
use simclr_core::train::health::COSINE;
use simclr_core::train::{Loss, Metric};
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::{Tape, accuracy, mean_cosine, partial_cross_entropy};
use simclr_stage::{Arrived, EvalSet, StageLoss};
use std::collections::BTreeMap;

const ONLINE_ACCURACY: &str = "supervised_acc";
/// What the names of an objective's tensors begin with in the state that a resumed run reads.
const OBJECTIVE: &str = "objective/";

/// The loss of pretraining.
pub struct Pretrain {
    objective: Box<dyn Objective>,
    chunk: Option<usize>,
    /// What the online head, the network's classifier, reads through; nothing in the reference's form.
    normalizer: Option<Normalizer>,
}

impl Pretrain {
    /// Lowers `objective`, with the online head in the reference's form; with a `chunk` at most so many images at a time go
    /// through the network, and the loss stays that of the whole batch.
    pub fn new(objective: Box<dyn Objective>, chunk: Option<usize>) -> Self {
        Self { objective, chunk, normalizer: None }
    }

    /// The same, with the online head of `model`, where there is one, of another form; `rate` is the highest learning rate.
    ///
    /// # Errors
    /// When memory is short.
    pub fn with_head(mut self, model: &SimClr, form: OnlineHead, rate: f64) -> Result<Self> {
        self.normalizer = match (&model.classifier, form) {
            (Some(_), OnlineHead::Normalized) => {
                Some(Normalizer::new(model.encoder.features(), rate, model.store.device())?)
            }
            _ => None,
        };
        Ok(self)
    }

    /// Gives the classifier the numbers with which it reads features as they are; back come those that it trains with.
    fn fold_head(&self, model: &SimClr) -> Result<Option<Linear>> {
        let (Some(normalizer), Some(classifier)) = (&self.normalizer, &model.classifier) else { return Ok(None) };
        let head = Linear::of(&model.store, classifier)?;
        normalizer.folded(&head)?.write(&model.store, classifier)?;
        Ok(Some(head))
    }
}

impl StageLoss for Pretrain {
    fn loss(&mut self, model: &SimClr, tape: &Tape, batch: Arrived) -> Result<Loss> {
        let Arrived { images, labels, .. } = batch;
        let pass = Pass::new(tape, &model.store, Mode::Train);
        let views = Views { model, pass: &pass, images: &images, chunk: self.chunk };
        let Learned { loss, features, metrics } = self.objective.loss(&views)?;
        let mut metrics: Vec<_> = metrics.into_iter().map(|(name, value)| Metric::of_all(name, value)).collect();
        metrics.push(Metric::of_all(COSINE, mean_cosine(&features.tensor().contiguous()?)?));
        let Some(head) = &model.classifier else { return Ok(Loss { value: loss, beside: None, metrics }) };
        // The head learns to read the features and must not shape them. All views of an image have its label.
        let labels = labels.repeat(features.tensor().dim(0)? / labels.len());
        let features = match &self.normalizer {
            Some(normalizer) => normalizer.forward(tape, &features)?,
            None => features,
        };
        let logits = head.forward(&pass, &features)?;
        let supervised = partial_cross_entropy(tape, &logits, &labels)?;
        metrics.push(Metric::of_all("supervised_loss", supervised.tensor().clone()));
        // A batch of mostly unlabeled images may hold no label at all.
        let of = labels.iter().flatten().count() as f64 / labels.len() as f64;
        metrics.push(Metric { name: ONLINE_ACCURACY, value: accuracy(logits.tensor(), &labels, 1)?, of });
        Ok(Loss { value: loss, beside: Some(supervised), metrics })
    }

    fn after_step(&mut self, model: &SimClr, step: u64) -> Result<()> {
        self.objective.after_step(model, step)
    }

    fn evaluate(&mut self, model: &SimClr, test: &EvalSet) -> Result<Vec<(&'static str, f64)>> {
        // Without labels there is nothing to measure: the loss says how far pretraining has come.
        if model.classifier.is_none() || test.is_empty() {
            return Ok(Vec::new());
        }
        let trained = self.fold_head(model)?;
        let metrics = test.metrics(model);
        if let (Some(head), Some(classifier)) = (trained, &model.classifier) {
            head.write(&model.store, classifier)?;
        }
        metrics
    }

    fn watched(&self) -> Option<(&'static str, &'static str)> {
        Some((ONLINE_ACCURACY, "online accuracy"))
    }

    fn guessing(&self, _model: &SimClr) -> Option<f64> {
        self.objective.guessing()
    }

    /// The checkpoint's classifier is a plain linear layer.
    fn finish(&mut self, model: &SimClr) -> Result<()> {
        self.fold_head(model).map(drop)
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = self.normalizer.as_ref().map_or_else(|| Ok(BTreeMap::new()), Normalizer::state)?;
        state.extend(self.objective.state()?.into_iter().map(|(name, t)| (format!("{OBJECTIVE}{name}"), t)));
        Ok(state)
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        self.normalizer.as_ref().map_or(Ok(()), |normalizer| normalizer.restore(state))?;
        let own = |(name, t): (&String, &Tensor)| Some((name.strip_prefix(OBJECTIVE)?.to_string(), t.clone()));
        self.objective.restore(&state.iter().filter_map(own).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::objective::NtXent;
    use simclr_core::config::Config;
    use simclr_data::Batch;
    use simclr_model::ModelSpec;
    use simclr_ops::weighted_sum;
    use simclr_stage::{DeviceBatch, uploader};
    use std::path::Path;

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
        let batch = DeviceBatch::send(batch, &uploader).and_then(DeviceBatch::arrived).unwrap();
        let pretrain = Pretrain::new(Box::new(NtXent::new(0.2)), None);
        let tape = Tape::new();
        let loss = pretrain.with_head(&model, form, 0.3).unwrap().loss(&model, &tape, batch).unwrap();
        let scalar = |t: &Tensor| t.to_scalar::<f32>().unwrap();
        let contrast = loss.metrics.iter().find(|m| m.name == "contrast_loss").map(|m| scalar(&m.value)).unwrap();
        let shown = scalar(loss.value.tensor());
        let lowered = match &loss.beside {
            Some(beside) => weighted_sum(&tape, &[(1.0, &loss.value), (1.0, beside)]).unwrap(),
            None => loss.value,
        };
        let gradients = tape.backward(&lowered).unwrap();
        let body = model.store.trainable().filter(|p| !p.part.in_classifier());
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
