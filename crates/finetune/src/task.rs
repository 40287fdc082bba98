//! The loss of fine-tuning: softmax cross entropy on labeled images.

use anyhow::{Result, ensure};
use serde_json::Value as Json;
use simclr_core::params::{Param, ParamStore, Part};
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
pub fn frozen(part: Part, freeze_after: i64) -> bool {
    part.depth().is_some_and(|depth| depth as i64 <= freeze_after)
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
        let trainable = |p: &Param| !frozen(p.part, self.freeze_after);
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
        !frozen(parameter.part, self.freeze_after)
    }
}

#[cfg(test)]
mod tests {
    use super::frozen;
    use simclr_core::params::Part::{Classifier, Group, HeadLayer, Stem};

    #[test]
    fn freezing_follows_the_groups() {
        assert!(!frozen(Stem, -1) && frozen(Stem, 0) && frozen(Stem, 2));
        assert!(!frozen(Group(1), 0) && frozen(Group(2), 2));
        assert!(!frozen(Group(3), 2) && !frozen(Classifier, 4) && !frozen(HeadLayer(1), 4));
    }
}
