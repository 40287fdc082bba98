//! The projection head and the classifier.

use crate::init::Builder;
use crate::layers::BatchNorm;
use crate::outline::Outline;
use crate::pass::{Mode, Pass};
use anyhow::{Result, bail};
use simclr_core::params::{Kind, ParamId, Part};
use simclr_ops::{Fused, Value, linear};

/// The multi-layer projection head; the paper's third layer is what makes fine-tuning from its first one better.
pub struct ProjectionHead {
    layers: Vec<(ParamId, BatchNorm)>,
    dims: Vec<usize>,
}

impl ProjectionHead {
    /// `layers` linear layers without bias on `d` features, each with batch norm; all but the last are `d` wide and end
    /// in ReLU, the last is `out` wide and its batch norm has no beta.
    pub fn new(b: &mut Builder<'_>, d: usize, layers: usize, out: usize) -> Result<Self> {
        let (mut b, mut list, mut dims) = (b.under("projection"), Vec::new(), vec![d]);
        for j in 0..layers {
            let (last, mut b) = (j + 1 == layers, b.under(j.to_string()));
            let mut b = b.part(Part::HeadLayer(j + 1));
            let width = if last { out } else { d };
            let weight = b.linear("weight", Kind::Linear, width, d)?;
            list.push((weight, BatchNorm::new(&mut b, "bn", width, 1.0, !last)?));
            dims.push(width);
        }
        Ok(Self { layers: list, dims })
    }

    /// What `selector` selects: 0 the input itself, `k` the output of layer `k`, -1 that of the last. Layers past it do
    /// not run, except in training, where their running statistics move as they do in the reference.
    ///
    /// # Errors
    /// When there is no such layer.
    pub fn forward(&self, pass: &Pass<'_>, features: &Value, selector: i64) -> Result<Value> {
        let position = self.position(selector)?;
        let run = if pass.mode == Mode::Train { self.layers.len() } else { position };
        let (mut x, mut selected) = (features.clone(), features.clone());
        for (j, (weight, bn)) in self.layers[..run].iter().enumerate() {
            let y = linear(pass.tape, &x, &pass.param(*weight), None)?;
            x = bn.forward(pass, &y, Fused { residual: None, relu: j + 1 < self.layers.len() })?;
            if j + 1 == position {
                selected = x.clone();
            }
        }
        Ok(selected)
    }

    pub(crate) fn outline(&self, outline: &mut Outline<'_>) {
        for (weight, _) in &self.layers {
            outline.dense(*weight);
            outline.norm_rows(*weight);
        }
    }

    fn position(&self, selector: i64) -> Result<usize> {
        match selector {
            -1 => Ok(self.layers.len()),
            k if k >= 0 && k as usize <= self.layers.len() => Ok(k as usize),
            k if self.layers.is_empty() => {
                bail!("proj_selector = {k}: this network has no projection head; use 0, the encoder")
            }
            k => bail!("proj_selector = {k}: this head has {} layers; use 0 to {0} or -1", self.layers.len()),
        }
    }

    /// Width of what `selector` selects.
    ///
    /// # Errors
    /// When there is no such layer.
    pub fn width(&self, selector: i64) -> Result<usize> {
        Ok(self.dims[self.position(selector)?])
    }
}

/// A linear classifier.
pub struct Classifier {
    /// `[classes, D]`.
    pub weight: ParamId,
    /// `[classes]`.
    pub bias: ParamId,
}

impl Classifier {
    /// `classes` outputs on `d` features.
    ///
    /// # Errors
    /// When the store has a classifier already.
    pub fn new(b: &mut Builder<'_>, d: usize, classes: usize) -> Result<Self> {
        let mut b = b.under("fc");
        let mut b = b.part(Part::Classifier);
        Ok(Self {
            weight: b.linear("weight", Kind::Classifier, classes, d)?,
            bias: b.constant("bias", Kind::Bias, classes, 0.0)?,
        })
    }

    /// Logits `[N, classes]` of features `[N, D]`.
    ///
    /// # Errors
    /// When widths differ.
    pub fn forward(&self, pass: &Pass<'_>, features: &Value) -> Result<Value> {
        Ok(linear(pass.tape, features, &pass.param(self.weight), Some(&pass.param(self.bias)))?)
    }
}
