//! The learning rate: linear warm-up, then cosine to zero (the reference's `WarmUpAndCosineDecay`).

use crate::config::{Duration, Scaling, TrainingConfig};
use anyhow::{Result, ensure};

/// Learning rate by step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Steps in all.
    pub total: u64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// The scaled learning rate at its highest.
    pub peak: f64,
}

impl Schedule {
    /// For `examples` images an epoch. Epochs become `examples * epochs // batch + 1` steps, as in the reference.
    pub fn new(training: &TrainingConfig, examples: usize) -> Self {
        let batch = training.batch;
        let total = match training.length {
            Duration::Steps(n) => n,
            other => other.steps(examples, batch) + 1,
        };
        let scale = match training.scaling {
            Scaling::Linear => batch as f64 / 256.0,
            Scaling::Sqrt => (batch as f64).sqrt(),
            Scaling::None => 1.0,
        };
        Self { total, warmup: training.warmup.steps(examples, batch), peak: training.learning_rate * scale }
    }

    /// Checks what is known when the images are counted.
    ///
    /// # Errors
    /// When the run has no step, or its warm-up is longer than it.
    pub fn check(&self) -> Result<()> {
        let Self { total, warmup, peak } = *self;
        ensure!(total > 0, "training.length: gives no step for the images at hand");
        ensure!(
            warmup <= total,
            "training.warmup: {warmup} steps for the images at hand, longer than the whole run of {total} (training.length)"
        );
        ensure!(peak.is_finite() && peak > 0.0, "training.learning_rate: is {peak} after scaling with the batch");
        Ok(())
    }

    /// The learning rate of step `step`, counted from 0; with warm-up that of step 0 is 0.
    pub fn lr(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * step as f64 / self.warmup as f64;
        }
        let span = self.total.saturating_sub(self.warmup).max(1);
        let done = (step - self.warmup).min(span) as f64 / span as f64;
        self.peak * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done))
    }
}
