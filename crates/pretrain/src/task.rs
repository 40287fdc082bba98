//! The loss of pretraining: NT-Xent on two views, and an online linear head that the encoder does not feel.

use anyhow::Result;
use serde_json::Value as Json;
use simclr_core::metrics::top_k;
use simclr_core::params::ParamStore;
use simclr_core::trainer::{Batches, Loss, Task};
use simclr_data::Batch;
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::{Tape, cpu, nt_xent, partial_cross_entropy, weighted_sum};
use simclr_stage::{HeldOut, images};

/// Pretraining as the training loop sees it.
pub struct Pretrain {
    /// The network; its classifier is the online linear head.
    pub model: SimClr,
    /// The contrastive loss of the last batch.
    pub last_loss: f64,
    batches: Batches<Batch>,
    temperature: f64,
    chunk: Option<usize>,
    test: HeldOut,
}

impl Pretrain {
    /// Pretrains `model` on two views of each image of `batches`.
    pub fn new(model: SimClr, batches: Batches<Batch>, temperature: f64, test: HeldOut) -> Self {
        Self { model, last_loss: f64::NAN, batches, temperature, chunk: None, test }
    }

    /// The same, with at most so many images at a time through the network; the loss stays that of the whole batch.
    pub fn in_chunks(self, chunk: Option<usize>) -> Self {
        Self { chunk, ..self }
    }
}

impl Task for Pretrain {
    type Batch = Batch;

    fn store(&self) -> &ParamStore {
        &self.model.store
    }

    fn batches(&self) -> Batches<Batch> {
        self.batches.clone()
    }

    fn loss(&mut self, tape: &Tape, batch: &Batch) -> Result<Loss> {
        let pass = Pass::new(tape, &self.model.store, Mode::Train);
        let (features, hidden) = self.model.project(&pass, &images(batch)?, self.chunk)?;
        let contrast = nt_xent(tape, &hidden, self.temperature, true)?;
        self.last_loss = f64::from(contrast.loss.tensor().to_scalar::<f32>()?);
        let mut metrics = vec![
            ("contrast_loss", self.last_loss),
            ("contrast_acc", contrast.accuracy),
            ("contrast_entropy", contrast.entropy),
        ];
        let Some(head) = &self.model.classifier else {
            return Ok(Loss { value: contrast.loss, metrics });
        };
        // The head learns to read the features and must not shape them. Both views of an image have its label.
        let logits = head.forward(&pass, &features)?;
        let labels = [batch.labels.as_slice(), &batch.labels].concat();
        let supervised = partial_cross_entropy(tape, &logits, &labels)?;
        metrics.push(("supervised_loss", f64::from(supervised.tensor().to_scalar::<f32>()?)));
        let known: Vec<u32> = labels.iter().flatten().copied().collect();
        let classes = self.model.spec.classes;
        let hits = cpu::with_slice(logits.tensor(), |l| {
            let rows = l.chunks_exact(classes).zip(&labels).filter(|(_, label)| label.is_some());
            Ok(top_k(&rows.flat_map(|(row, _)| row.iter().copied()).collect::<Vec<_>>(), classes, &known, 1))
        })?;
        // A batch of mostly unlabeled images may hold no label at all.
        if !known.is_empty() {
            metrics.push(("supervised_acc", hits as f64 / known.len() as f64));
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
