//! The loss of fine-tuning: softmax cross entropy on labeled images.

use anyhow::{Result, ensure};
use serde_json::Value as Json;
use simclr_core::params::{Param, ParamStore};
use simclr_core::train::{Batches, Loss, Task};
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::{Tape, accuracy, partial_cross_entropy};
use simclr_stage::{HeldOut, Input};

/// Fine-tuning as the training loop sees it.
pub struct Finetune {
    /// The network.
    pub model: SimClr,
    /// What accuracy is measured on.
    pub test: HeldOut,
    batches: Batches<Input>,
    freeze_after: i64,
}

impl Finetune {
    /// Trains `model` on `batches`, its first groups frozen as `freeze_after` says (see [`frozen`]).
    pub fn new(model: SimClr, batches: Batches<Input>, freeze_after: i64, test: HeldOut) -> Self {
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
    type Batch = Input;

    fn store(&self) -> &ParamStore {
        &self.model.store
    }

    fn batches(&self) -> Batches<Input> {
        self.batches.clone()
    }

    fn loss(&mut self, tape: &Tape, batch: Input) -> Result<Loss> {
        let (images, labels, _) = batch.open()?;
        ensure!(labels.iter().all(Option::is_some), "an image of the batch has no label");
        let trainable = |name: &str| !frozen(name, self.freeze_after);
        let pass = Pass::with_trainable(tape, &self.model.store, Mode::Train, &trainable);
        let logits = self.model.logits(&pass, &images)?;
        let metrics = vec![("train_top1", accuracy(logits.tensor(), &labels, 1)?)];
        Ok(Loss { value: partial_cross_entropy(tape, &logits, &labels)?, beside: None, metrics })
    }

    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>> {
        self.test.metrics(&self.model)
    }

    fn watched(&self) -> Option<(&'static str, &'static str)> {
        Some(("train_top1", "accuracy"))
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
