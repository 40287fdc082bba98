//! The loss of distillation: the teacher's probabilities on every image, labels on those that have one.

use anyhow::Result;
use serde_json::Value as Json;
use simclr_core::params::ParamStore;
use simclr_core::train::{Batches, Loss, Task};
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::{Tape, distillation, partial_cross_entropy, weighted_sum};
use simclr_stage::{HeldOut, Input};

/// Distillation as the training loop sees it.
pub struct Distill {
    /// The network that learns.
    pub student: SimClr,
    /// What accuracy is measured on.
    pub test: HeldOut,
    teacher: SimClr,
    batches: Batches<Input>,
    temperature: f64,
    teacher_weight: f64,
    /// Indices of the images whose label is known, ascending.
    known: Vec<u32>,
}

impl Distill {
    /// A `(student, teacher)` pair, `(temperature, teacher_weight)` of the loss, and the images with a known label
    /// (ascending; none are needed at a teacher weight of 1).
    pub fn new(
        (student, teacher): (SimClr, SimClr),
        batches: Batches<Input>,
        (temperature, teacher_weight): (f64, f64),
        known: Vec<u32>,
        test: HeldOut,
    ) -> Self {
        Self { student, test, teacher, batches, temperature, teacher_weight, known }
    }
}

impl Task for Distill {
    type Batch = Input;

    fn store(&self) -> &ParamStore {
        &self.student.store
    }

    fn batches(&self) -> Batches<Input> {
        self.batches.clone()
    }

    /// `(1 - a) labels + a teacher` (paper, equation 3): both terms are averages over all images of the batch.
    fn loss(&mut self, tape: &Tape, batch: Input) -> Result<Loss> {
        let (images, labels, samples) = batch.open()?;
        let silent = Tape::inference();
        let target = self.teacher.logits(&Pass::new(&silent, &self.teacher.store, Mode::Eval), &images)?;
        let logits = self.student.logits(&Pass::new(tape, &self.student.store, Mode::Train), &images)?;
        let taught = distillation(tape, &logits, &target, self.temperature)?;
        let mut metrics = vec![("teacher_loss", taught.tensor().clone())];
        if self.teacher_weight == 1.0 {
            return Ok(Loss { value: taught, beside: None, metrics });
        }
        let known = |sample: &u32| self.known.binary_search(sample).is_ok();
        let labels: Vec<Option<u32>> =
            samples.iter().zip(&labels).map(|(s, label)| label.filter(|_| known(s))).collect();
        let labeled = partial_cross_entropy(tape, &logits, &labels)?;
        metrics.push(("label_loss", labeled.tensor().clone()));
        let a = self.teacher_weight;
        let value = weighted_sum(tape, &[(1.0 - a, &labeled), (a, &taught)])?;
        Ok(Loss { value, beside: None, metrics })
    }

    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>> {
        self.test.metrics(&self.student)
    }

    fn model_config(&self) -> Json {
        self.student.spec.to_json()
    }
}
