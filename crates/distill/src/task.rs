//! The loss of distillation: the teacher's probabilities on every image, labels on those that have one.

use anyhow::Result;
use simclr_core::train::{Loss, Metric};
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::{Tape, distillation, partial_cross_entropy, weighted_sum};
use simclr_stage::{Arrived, StageLoss};

/// Distillation into the network that is trained.
pub struct Distill {
    teacher: SimClr,
    temperature: f64,
    teacher_weight: f64,
    /// Indices of the images whose label is known, ascending.
    known: Vec<u32>,
}

impl Distill {
    /// A teacher, `(temperature, teacher_weight)` of the loss, and the images with a known label (ascending; none are
    /// needed at a teacher weight of 1).
    pub fn new(teacher: SimClr, (temperature, teacher_weight): (f64, f64), known: Vec<u32>) -> Self {
        Self { teacher, temperature, teacher_weight, known }
    }
}

impl StageLoss for Distill {
    /// `(1 - a) labels + a teacher` (paper, equation 3): both terms are averages over all images of the batch.
    fn loss(&mut self, student: &SimClr, tape: &Tape, batch: Arrived) -> Result<Loss> {
        let Arrived { images, labels, samples } = batch;
        let silent = Tape::inference();
        let target = self.teacher.logits(&Pass::new(&silent, &self.teacher.store, Mode::Eval), &images)?;
        let logits = student.logits(&Pass::new(tape, &student.store, Mode::Train), &images)?;
        let taught = distillation(tape, &logits, &target, self.temperature)?;
        let mut metrics = vec![Metric::of_all("teacher_loss", taught.tensor().clone())];
        if self.teacher_weight == 1.0 {
            return Ok(Loss { value: taught, beside: None, metrics });
        }
        let known = |sample: &u32| self.known.binary_search(sample).is_ok();
        let labels: Vec<Option<u32>> =
            samples.iter().zip(&labels).map(|(s, label)| label.filter(|_| known(s))).collect();
        let labeled = partial_cross_entropy(tape, &logits, &labels)?;
        metrics.push(Metric::of_all("label_loss", labeled.tensor().clone()));
        let a = self.teacher_weight;
        let value = weighted_sum(tape, &[(1.0 - a, &labeled), (a, &taught)])?;
        Ok(Loss { value, beside: None, metrics })
    }
}
