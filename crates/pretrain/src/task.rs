//! The loss of pretraining: NT-Xent on two views, and an online linear head that the encoder does not feel.

use anyhow::Result;
use serde_json::Value as Json;
use simclr_core::params::ParamStore;
use simclr_core::trainer::{Batches, Loss, Task};
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::{Tape, accuracy, nt_xent, partial_cross_entropy, weighted_sum};
use simclr_stage::{HeldOut, Input};

/// What the log calls the loss of the two views.
pub(crate) const CONTRAST_LOSS: &str = "contrast_loss";

/// Pretraining as the training loop sees it.
pub struct Pretrain {
    /// The network; its classifier is the online linear head.
    pub model: SimClr,
    batches: Batches<Input>,
    temperature: f64,
    chunk: Option<usize>,
    test: HeldOut,
}

impl Pretrain {
    /// Pretrains `model` on two views of each image of `batches`.
    pub fn new(model: SimClr, batches: Batches<Input>, temperature: f64, test: HeldOut) -> Self {
        Self { model, batches, temperature, chunk: None, test }
    }

    /// The same, with at most so many images at a time through the network; the loss stays that of the whole batch.
    pub fn in_chunks(self, chunk: Option<usize>) -> Self {
        Self { chunk, ..self }
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
            return Ok(Loss { value: contrast.loss, metrics });
        };
        // The head learns to read the features and must not shape them. Both views of an image have its label.
        let logits = head.forward(&pass, &features)?;
        let labels = [labels.as_slice(), &labels].concat();
        let supervised = partial_cross_entropy(tape, &logits, &labels)?;
        metrics.push(("supervised_loss", supervised.tensor().clone()));
        // A batch of mostly unlabeled images may hold no label at all.
        if labels.iter().any(Option::is_some) {
            metrics.push(("supervised_acc", accuracy(logits.tensor(), &labels, 1)?));
        }
        Ok(Loss { value: weighted_sum(tape, &[(1.0, &contrast.loss), (1.0, &supervised)])?, metrics })
    }

    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>> {
        // Without labels there is nothing to measure: the loss says how far pretraining has come.
        if self.model.classifier.is_none() || self.test.is_empty() {
            return Ok(Vec::new());
        }
        self.test.metrics(&self.model)
    }

    fn model_config(&self) -> Json {
        self.model.spec.to_json()
    }
}
