//! Inference over many images: pooled features, logits, accuracy.

use crate::network::SimClr;
use crate::pass::{Mode, Pass};
use anyhow::Result;
use candle_core::Tensor;
use simclr_ops::{Tape, Value, top_k};

/// Share of images whose class is among the best 1 and 5 of the classifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Accuracy {
    /// Best.
    pub top1: f64,
    /// Among the best five.
    pub top5: f64,
}

impl Accuracy {
    /// Of logits `[N, classes]`, row-major.
    pub fn of(logits: &[f32], classes: usize, labels: &[u32]) -> Self {
        let hits = |k| top_k(logits, classes, labels.iter().map(|l| Some(*l)), k);
        let share = |k| hits(k) as f64 / labels.len().max(1) as f64;
        Self { top1: share(1), top5: share(5) }
    }
}

impl SimClr {
    /// Runs `forward` without a tape and with the running statistics, and lines up the rows `[N, D]` of all batches.
    fn rows(
        &self,
        batches: impl Iterator<Item = Result<Tensor>>,
        forward: impl Fn(&Pass<'_>, &Value) -> Result<Value>,
    ) -> Result<Vec<f32>> {
        let mut rows = Vec::new();
        for images in batches {
            let tape = Tape::inference();
            let out = forward(&Pass::new(&tape, &self.store, Mode::Eval), &Value::constant(images?))?;
            rows.extend(out.tensor().flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(rows)
    }

    /// What the head layer `selector` gives for each image, row-major `[N, D]`; 0 selects the encoder's features.
    ///
    /// # Errors
    /// When the images do not fit the network.
    pub fn features(&self, batches: impl Iterator<Item = Result<Tensor>>, selector: i64) -> Result<Vec<f32>> {
        self.rows(batches, |pass, images| self.projection.forward(pass, &self.encoder.forward(pass, images)?, selector))
    }

    /// Logits of each image, row-major `[N, classes]`.
    ///
    /// # Errors
    /// When the network has no classifier, or the images do not fit it.
    pub fn predict(&self, batches: impl Iterator<Item = Result<Tensor>>) -> Result<Vec<f32>> {
        self.rows(batches, |pass, images| self.logits(pass, images))
    }
}
