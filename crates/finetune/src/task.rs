//! The loss of fine-tuning: softmax cross entropy on labeled images.

use anyhow::{Result, ensure};
use simclr_core::params::{Param, Part};
use simclr_core::train::health::guess_among;
use simclr_core::train::{Loss, Metric};
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::{Tape, accuracy, partial_cross_entropy};
use simclr_stage::{Arrived, StageLoss};

/// Cross entropy, with the first groups of the encoder frozen.
pub struct Finetune {
    freeze_after: i64,
}

impl Finetune {
    /// For `model`, its first groups frozen as `freeze_after` says (see [`frozen`]).
    ///
    /// # Errors
    /// When it has fewer groups.
    pub fn new(model: &SimClr, freeze_after: i64) -> Result<Self> {
        let groups = model.encoder.groups();
        ensure!(freeze_after <= groups as i64, "freeze_after = {freeze_after}: this encoder has {groups} groups");
        Ok(Self { freeze_after })
    }
}

/// Whether a weight lies in the frozen part: -1 freezes nothing, 0 the stem, `k` the stem and the groups up to `k`.
/// Batch norm goes on to take the batch's moments there, as in the reference.
pub fn frozen(part: Part, freeze_after: i64) -> bool {
    part.depth().is_some_and(|depth| depth as i64 <= freeze_after)
}

impl StageLoss for Finetune {
    fn loss(&mut self, model: &SimClr, tape: &Tape, batch: Arrived) -> Result<Loss> {
        let Arrived { images, labels, .. } = batch;
        ensure!(labels.iter().all(Option::is_some), "an image of the batch has no label");
        let trainable = |p: &Param| self.trains(p);
        let pass = Pass::with_trainable(tape, &model.store, Mode::Train, &trainable);
        let logits = model.logits(&pass, &images)?;
        let metrics = vec![Metric::of_all("train_top1", accuracy(logits.tensor(), &labels, 1)?)];
        Ok(Loss { value: partial_cross_entropy(tape, &logits, &labels)?, beside: None, metrics })
    }

    fn watched(&self) -> Option<(&'static str, &'static str)> {
        Some(("train_top1", "accuracy"))
    }

    fn guessing(&self, model: &SimClr) -> Option<f64> {
        (model.spec.classes > 1).then(|| guess_among(model.spec.classes))
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
