//! What the online head reads: features of mean 0, and of a length on which it cannot diverge.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use simclr_core::params::ParamStore;
use simclr_model::Classifier;
use simclr_ops::{Fused, Statistics, Tape, Value, batch_norm, optim};
use std::collections::BTreeMap;

/// Added to the variance.
const EPS: f32 = 1e-5;
/// Share of the old running moments that a step keeps, as in the network's batch norms.
const KEEP: f32 = 0.9;
/// The moments' names in the state that a resumed run reads.
const NAMES: [&str; 2] = ["online.running_mean", "online.running_var"];

/// Normalises features over the batch, and scales them so that a row's mean square length is one over the learning rate
/// (no more than unit variance gives).
///
/// The softmax's loss curves by at most half that length along any direction of the head's weights, whatever the
/// features, and SGD with Nesterov's momentum of 0.9 descends where curvature times rate is below 1.35. So it is 2.7
/// times slower than what might diverge, at every rate.
pub(crate) struct Normalizer {
    /// Running mean and variance of each feature.
    moments: [Tensor; 2],
    scale: Value,
}

impl Normalizer {
    /// For so many features, and the highest learning rate of the run.
    pub fn new(features: usize, rate: f64, device: &Device) -> Result<Self> {
        let full = |value: f32| Tensor::full(value, features, &Device::Cpu)?.to_device(device);
        let scale = (1.0 / (rate * features as f64).sqrt()).min(1.0) as f32;
        Ok(Self { moments: [full(0.0)?, full(1.0)?], scale: Value::constant(full(scale)?) })
    }

    /// Normalises by the batch's moments, which also move the running ones.
    pub fn forward(&self, tape: &Tape, features: &Value) -> Result<Value> {
        let batch = Statistics::Batch;
        let (rows, moments) = batch_norm(tape, features, Some(&self.scale), None, &batch, EPS, Fused::default())?;
        let [mean, var] = &self.moments;
        moments.context("a batch has moments")?.blend_into([mean, var], KEEP)?;
        Ok(rows)
    }

    /// The linear layer that does to features as they are what `head` does to those that the running moments normalise.
    pub fn folded(&self, head: &Linear) -> Result<Linear> {
        let [mean, var] = &self.moments;
        let (mean, var) = (mean.to_vec1::<f32>()?, var.to_vec1::<f32>()?);
        let scale = self.scale.tensor().to_vec1::<f32>()?;
        let scale: Vec<f32> = scale.iter().zip(&var).map(|(scale, v)| scale / (v + EPS).sqrt()).collect();
        let (mut weight, mut bias) = (head.weight.to_vec2::<f32>()?, head.bias.to_vec1::<f32>()?);
        for (row, bias) in weight.iter_mut().zip(&mut bias) {
            for ((w, scale), mean) in row.iter_mut().zip(&scale).zip(&mean) {
                *w *= scale;
                *bias -= *w * mean;
            }
        }
        Ok(Linear { weight: Tensor::new(weight, &Device::Cpu)?, bias: Tensor::new(bias, &Device::Cpu)? })
    }

    /// What a resumed run needs.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        NAMES.iter().zip(&self.moments).map(|(name, t)| Ok(((*name).to_string(), t.copy()?))).collect()
    }

    /// Takes over what [`Normalizer::state`] gave.
    pub fn restore(&self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, moment) in NAMES.iter().zip(&self.moments) {
            optim::assign(moment, state.get(*name).with_context(|| format!("the state lacks {name}"))?)?;
        }
        Ok(())
    }
}

/// The numbers of a linear layer.
pub(crate) struct Linear {
    pub weight: Tensor,
    pub bias: Tensor,
}

impl Linear {
    /// A copy of `classifier`, whose parameters are in `store`.
    pub fn of(store: &ParamStore, classifier: &Classifier) -> Result<Self> {
        let copy = |id| store.get(id).tensor.copy();
        Ok(Self { weight: copy(classifier.weight)?, bias: copy(classifier.bias)? })
    }

    /// Puts these numbers into `classifier`.
    pub fn write(&self, store: &ParamStore, classifier: &Classifier) -> Result<()> {
        optim::assign(&store.get(classifier.weight).tensor, &self.weight)?;
        Ok(optim::assign(&store.get(classifier.bias).tensor, &self.bias)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::rng::{Purpose, Rng};
    use simclr_core::testing::assert_close;
    use simclr_ops::{linear, partial_cross_entropy, tensor};

    const ROWS: usize = 64;
    const FEATURES: usize = 32;
    const CLASSES: usize = 10;

    fn random(path: u64, shape: &[usize], centre: f32, scale: f32) -> Tensor {
        let mut rng = Rng::stream(5, Purpose::Test, &[path]);
        let data: Vec<f32> = (0..shape.iter().product()).map(|_| centre + scale * rng.normal()).collect();
        Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
    }

    /// Features that share one direction, the worst case of the curvature, far from zero and large.
    fn features(step: u64) -> Tensor {
        let shared = random(2 * step, &[ROWS, 1], 0.0, 200.0);
        random(2 * step + 1, &[ROWS, FEATURES], 500.0, 10.0).broadcast_add(&shared).unwrap()
    }

    fn blank() -> Linear {
        let zeros = |shape: &[usize]| random(0, shape, 0.0, 0.0);
        Linear { weight: zeros(&[CLASSES, FEATURES]), bias: zeros(&[CLASSES]) }
    }

    /// The largest loss of a head that SGD with Nesterov's momentum trains on noise.
    fn worst(rate: f32) -> f32 {
        let (normalizer, head) = (Normalizer::new(FEATURES, rate.into(), &Device::Cpu).unwrap(), blank());
        let mut momenta = [vec![0.0; CLASSES * FEATURES], vec![0.0; CLASSES]];
        let labels: Vec<_> = (0..ROWS as u32).map(|i| Some(i % CLASSES as u32)).collect();
        let mut worst = 0.0f32;
        for step in 0..200 {
            let tape = Tape::new();
            let rows = normalizer.forward(&tape, &Value::constant(features(step))).unwrap();
            let (weight, bias) = (tape.leaf(&head.weight), tape.leaf(&head.bias));
            let logits = linear(&tape, &rows, &weight, Some(&bias)).unwrap();
            let loss = partial_cross_entropy(&tape, &logits, &labels).unwrap();
            worst = worst.max(loss.tensor().to_scalar().unwrap());
            let grads = tape.backward(&loss).unwrap();
            for (parameter, momentum) in [&head.weight, &head.bias].into_iter().zip(&mut momenta) {
                let gradient: Vec<f32> = grads.get(parameter).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                let moved = |w: &mut [f32]| {
                    for ((w, g), v) in w.iter_mut().zip(&gradient).zip(momentum) {
                        *v = 0.9 * *v + g;
                        *w -= rate * (0.9 * *v + g);
                    }
                };
                tensor::update(parameter, moved).unwrap();
            }
        }
        worst
    }

    #[test]
    fn the_loss_stays_bounded_at_high_rates() {
        for rate in [1e-3, 0.1, 0.3, 1.0, 5.0] {
            let worst = worst(rate);
            // Twice that of a head that knows nothing.
            assert!(f64::from(worst) < 2.0 * libm::log(CLASSES as f64), "rate {rate}: {worst}");
        }
    }

    #[test]
    fn folding_takes_the_normalisation_in() {
        let normalizer = Normalizer::new(FEATURES, 0.3, &Device::Cpu).unwrap();
        for step in 0..100 {
            normalizer.forward(&Tape::inference(), &Value::constant(features(step))).unwrap();
        }
        let head =
            Linear { weight: random(1000, &[CLASSES, FEATURES], 0.0, 1.0), bias: random(1001, &[CLASSES], 0.0, 1.0) };
        let folded = normalizer.folded(&head).unwrap();
        let (tape, x) = (Tape::inference(), Value::constant(features(200)));
        let [mean, var] = normalizer.moments.clone();
        let by_running = Statistics::Running(mean, var);
        let (rows, _) =
            batch_norm(&tape, &x, Some(&normalizer.scale), None, &by_running, EPS, Fused::default()).unwrap();
        let logits = |rows: &Value, head: &Linear| -> Vec<f32> {
            let constant = |t: &Tensor| Value::constant(t.clone());
            let out = linear(&tape, rows, &constant(&head.weight), Some(&constant(&head.bias))).unwrap();
            out.tensor().flatten_all().unwrap().to_vec1().unwrap()
        };
        assert_close("logits", &logits(&x, &folded), &logits(&rows, &head), 1e-3);
    }
}
