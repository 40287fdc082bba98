//! NT-Xent (Chen et al. 2020, equation 1): each view finds the other view of its image among all views of the batch.

use super::contract::{Cost, Given, Learned, Objective, Views};
use anyhow::Result;
use serde::Deserialize;
use simclr_core::table;
use simclr_core::train::health::guess_among;
use simclr_ops::nt_xent;

table! {
    /// Each view finds the other view of its image among all views of the batch (Chen et al. 2020, equation 1). The temperature
    /// is that of the table `[pretrain]`, which other contrastive objectives share.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Settings {}
}

/// NT-Xent over the projections of a batch.
pub struct NtXent {
    temperature: f64,
    /// Images of a batch, where they are known beforehand.
    images: Option<usize>,
}

impl NtXent {
    /// With cosines divided by `temperature`.
    pub fn new(temperature: f64) -> Self {
        Self { temperature, images: None }
    }

    /// As the experiment says.
    pub fn of(given: &Given<'_>) -> Self {
        Self { images: Some(given.config.training.batch), ..Self::new(given.config.temperature) }
    }
}

impl Objective for NtXent {
    fn runs_in_chunks(&self) -> bool {
        true
    }

    fn loss(&mut self, views: &Views<'_>) -> Result<Learned> {
        let (features, hidden) = views.model.project(views.pass, views.images, views.chunk)?;
        let contrast = nt_xent(views.pass.tape, &hidden, self.temperature, true)?;
        let metrics = vec![
            ("contrast_loss", contrast.loss.tensor().clone()),
            ("contrast_acc", contrast.accuracy),
            ("contrast_entropy", contrast.entropy),
        ];
        Ok(Learned { loss: contrast.loss, features, metrics })
    }

    /// Each view looks for the other one of its image among the 2N - 1 others; the loss is the sum of both directions.
    fn guessing(&self) -> Option<f64> {
        self.images.filter(|n| *n > 1).map(|n| 2.0 * guess_among(2 * n - 1))
    }

    /// Similarities of all views, and two products in the backward pass. The matrix is read or written eight times; that of
    /// one view's rows is held, with the figures beside it.
    fn cost(&self, images: f64, width: f64) -> Cost {
        let views = 2.0 * images;
        Cost {
            operations: 3.0 * 2.0 * views * views * width,
            moved: 8.0 * 4.0 * views * views,
            held: 4.0 * (4.0 + 2.0) * images * images,
            // Each row is held against those of all ranks, and its gradient is a sum over them.
            gathered: 4.0 * views * width,
            summed: 4.0 * views * width,
            ..Cost::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::{DType, Device, Tensor};
    use simclr_ops::{Tape, Value};

    #[test]
    fn the_loss_of_guessing_is_that_of_equal_projections() {
        let (images, width) = (5, 4);
        let rows = Value::constant(Tensor::ones((2 * images, width), DType::F32, &Device::Cpu).unwrap());
        let loss = nt_xent(&Tape::inference(), &rows, 0.1, true).unwrap().loss;
        let found = loss.tensor().to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
        let told = NtXent { temperature: 0.1, images: Some(images) }.guessing().unwrap();
        assert!((found - told).abs() < 1e-5, "{found} for {told}");
    }
}
