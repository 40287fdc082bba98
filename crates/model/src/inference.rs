//! Inference over many images: pooled features, logits, accuracy.

use crate::network::SimClr;
use crate::pass::{Mode, Pass};
use anyhow::Result;
use candle_core::Tensor;
use simclr_ops::{Group, Tape, Value, top_k};
use std::iter::Sum;
use std::ops::Add;

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
        Hits::of(logits, classes, labels).accuracy()
    }
}

/// How many of some images were classified rightly: what accuracy is made of, and what parts of a set can be added by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Images whose class is the best.
    pub top1: u64,
    /// Images whose class is among the best five.
    pub top5: u64,
    /// Images.
    pub images: u64,
}

impl Hits {
    /// Of logits `[N, classes]`, row-major; of no rows where there are no labels.
    pub fn of(logits: &[f32], classes: usize, labels: &[u32]) -> Self {
        let hits = |k| top_k(logits, classes.max(1), labels.iter().map(|l| Some(*l)), k) as u64;
        Self { top1: hits(1), top5: hits(5), images: labels.len() as u64 }
    }

    /// The shares.
    pub fn accuracy(self) -> Accuracy {
        let share = |hits: u64| hits as f64 / self.images.max(1) as f64;
        Accuracy { top1: share(self.top1), top5: share(self.top5) }
    }

    /// Those of all ranks, each of which has looked at its part of a set.
    ///
    /// # Errors
    /// When a rank has ended.
    pub fn of_all_ranks(self, group: &Group) -> Result<Self> {
        let message: Vec<u8> = [self.top1, self.top5, self.images].into_iter().flat_map(u64::to_le_bytes).collect();
        let all = group.exchange(&message)?;
        let read = |bytes: &Vec<u8>| {
            let mut numbers = bytes.chunks(size_of::<u64>()).filter_map(|b| b.try_into().ok()).map(u64::from_le_bytes);
            let mut next = || numbers.next().unwrap_or_default();
            Self { top1: next(), top5: next(), images: next() }
        };
        Ok(all.iter().map(read).sum())
    }
}

impl Add for Hits {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let Self { top1, top5, images } = other;
        Self { top1: self.top1 + top1, top5: self.top5 + top5, images: self.images + images }
    }
}

impl Sum for Hits {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
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
