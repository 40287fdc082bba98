//! Convolution and batch norm as layers: parameter ids and a forward.

use crate::init::Builder;
use crate::outline::Outline;
use crate::pass::{Mode, Pass};
use anyhow::{Context, Result};
use simclr_core::params::{Kind, ParamId};
use simclr_ops::{ConvInput, Fused, Normalized, Statistics, Value, batch_norm, batch_norm_relu, conv2d};

/// Added to the variance.
const BN_EPS: f32 = 1e-5;
/// Share of the old running statistic that a training step keeps.
const BN_MOMENTUM: f32 = 0.9;

/// A convolution without bias, padded as the reference does.
pub struct Conv {
    weight: ParamId,
    bias: Option<ParamId>,
    stride: usize,
}

impl Conv {
    pub fn new(b: &mut Builder<'_>, name: &str, o: usize, k: usize, c: usize, stride: usize) -> Result<Self> {
        Ok(Self { weight: b.under(name).conv("weight", o, k, c)?, bias: None, stride })
    }

    /// A 1x1 convolution over pooled features, with a bias.
    pub fn dense(b: &mut Builder<'_>, name: &str, o: usize, c: usize) -> Result<Self> {
        let mut b = b.under(name);
        Ok(Self { weight: b.conv("weight", o, 1, c)?, bias: Some(b.constant("bias", Kind::Bias, o, 0.0)?), stride: 1 })
    }

    pub fn forward(&self, pass: &Pass<'_>, x: impl Into<ConvInput>) -> Result<Value> {
        Ok(conv2d(pass.tape, x, &pass.param(self.weight), self.stride)?)
    }

    pub fn outline(&self, outline: &mut Outline<'_>) {
        outline.conv(self.weight, self.stride);
    }

    /// As [`Conv::outline`], of [`Conv::forward_rows`].
    pub fn outline_rows(&self, outline: &mut Outline<'_>) {
        outline.dense(self.weight);
    }

    /// The 1x1 convolution on `[N, C]`.
    pub fn forward_rows(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        let weight = pass.param(self.weight);
        let bias = self.bias.map(|b| pass.param(b));
        Ok(simclr_ops::linear(pass.tape, x, &weight, bias.as_ref())?)
    }
}

/// Batch norm over the last dimension, fused with what follows it.
pub struct BatchNorm {
    gamma: ParamId,
    beta: Option<ParamId>,
    mean: ParamId,
    var: ParamId,
}

impl BatchNorm {
    pub fn new(b: &mut Builder<'_>, name: &str, c: usize, gamma: f32, beta: bool) -> Result<Self> {
        let mut b = b.under(name);
        Ok(Self {
            gamma: b.constant("weight", Kind::BatchNorm, c, gamma)?,
            beta: if beta { Some(b.constant("bias", Kind::BatchNorm, c, 0.0)?) } else { None },
            mean: b.constant("running_mean", Kind::Statistic, c, 0.0)?,
            var: b.constant("running_var", Kind::Variance, c, 1.0)?,
        })
    }

    pub fn forward(&self, pass: &Pass<'_>, x: &Value, fused: Fused<'_>) -> Result<Value> {
        let (gamma, beta) = self.affine(pass);
        let statistics = self.statistics(pass);
        let (y, _) =
            batch_norm(pass.tape, x, Some(&gamma), beta.as_ref(), &statistics, BN_EPS, fused).context("batch norm")?;
        Ok(y)
    }

    /// What it does to the rows that `layer` writes.
    pub fn outline_rows(&self, outline: &mut Outline<'_>, layer: &Conv) {
        outline.norm_rows(layer.weight);
    }

    pub fn relu(&self, pass: &Pass<'_>, x: &Value) -> Result<Value> {
        self.forward(pass, x, Fused { residual: None, relu: true })
    }

    /// With ReLU, for a convolution that follows and nothing else.
    pub fn relu_into(&self, pass: &Pass<'_>, x: &Value) -> Result<Normalized> {
        let (gamma, beta) = self.affine(pass);
        let statistics = self.statistics(pass);
        let (y, _) =
            batch_norm_relu(pass.tape, x, Some(&gamma), beta.as_ref(), &statistics, BN_EPS).context("batch norm")?;
        Ok(y)
    }

    fn affine(&self, pass: &Pass<'_>) -> (Value, Option<Value>) {
        (pass.param(self.gamma), self.beta.map(|b| pass.param(b)))
    }

    fn statistics(&self, pass: &Pass<'_>) -> Statistics {
        let (mean, var) = (pass.statistic(self.mean), pass.statistic(self.var));
        match pass.mode {
            Mode::Train => Statistics::Moving { mean, var, keep: BN_MOMENTUM },
            Mode::Eval => Statistics::Running(mean, var),
        }
    }
}
