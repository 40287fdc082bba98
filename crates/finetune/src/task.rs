//! The loss of fine-tuning: softmax cross entropy on labeled images.

use anyhow::Result;
use serde_json::Value as Json;
use simclr_core::metrics::top_k;
use simclr_core::params::{Param, ParamStore};
use simclr_core::trainer::{Batches, Loss, Task};
use simclr_data::Batch;
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::{Tape, cpu, cross_entropy};
use simclr_stage::{HeldOut, images};

/// Fine-tuning as the training loop sees it.
pub struct Finetune {
    /// The network.
    pub model: SimClr,
    /// What accuracy is measured on.
    pub test: HeldOut,
    batches: Batches<Batch>,
    freeze_after: i64,
}

impl Finetune {
    /// Trains `model` on `batches`, its first groups frozen as `freeze_after` says (see [`frozen`]).
    pub fn new(model: SimClr, batches: Batches<Batch>, freeze_after: i64, test: HeldOut) -> Self {
        Self { model, test, batches, freeze_after }
    }
}

/// Whether a weight lies in the frozen part: -1 freezes nothing, 0 the stem, `k` the stem and the groups up to `k`.
/// Batch norm goes on to take the batch's moments there, as in the reference.
pub fn frozen(name: &str, freeze_after: i64) -> bool {
    if let Some(rest) = name.strip_prefix("layer") {
        return rest.split('.').next().and_then(|g| g.parse::<i64>().ok()).is_some_and(|g| g <= freeze_after);
    }
    (name.starts_with("conv1.") || name.starts_with("bn1.")) && freeze_after >= 0
}

impl Task for Finetune {
    type Batch = Batch;

    fn store(&self) -> &ParamStore {
        &self.model.store
    }

    fn batches(&self) -> Batches<Batch> {
        self.batches.clone()
    }

    fn loss(&mut self, tape: &Tape, batch: &Batch) -> Result<Loss> {
        let trainable = |name: &str| !frozen(name, self.freeze_after);
        let pass = Pass::with_trainable(tape, &self.model.store, Mode::Train, &trainable);
        let logits = self.model.logits(&pass, &images(batch)?)?;
        let labels = batch.all_labels()?;
        let hits = cpu::with_slice(logits.tensor(), |l| Ok(top_k(l, self.model.spec.classes, &labels, 1)))?;
        let metrics = vec![("train_top1", hits as f64 / labels.len() as f64)];
        Ok(Loss { value: cross_entropy(tape, &logits, &labels)?, metrics })
    }

    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>> {
        self.test.metrics(&self.model)
    }

    fn model_config(&self) -> Json {
        self.model.spec.to_json()
    }

    fn trains(&self, parameter: &Param) -> bool {
        !frozen(&parameter.name, self.freeze_after)
    }
}

#[cfg(test)]
mod tests {
    use super::frozen;

    #[test]
    fn freezing_follows_the_groups() {
        assert!(!frozen("conv1.weight", -1) && frozen("conv1.weight", 0) && frozen("bn1.bias", 2));
        assert!(!frozen("layer1.0.conv1.weight", 0) && frozen("layer2.3.bn1.weight", 2));
        assert!(!frozen("layer3.0.conv1.weight", 2) && !frozen("fc.weight", 4) && !frozen("projection.0.weight", 4));
    }
}
