//! The projection that stands for a shortcut that has none.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;

/// Added to the variance, as in every batch norm here.
const BN_EPS: f64 = 1e-5;

/// What a 1x1 convolution and its batch norm must be to change nothing: the first block of a ResNet-18 or -34 adds its input as
/// it is, and has a projection here.
///
/// The convolution passes each channel on. The batch norm scales by the deviation and shifts by the mean that it takes
/// away, so whatever these are it changes nothing as long as running statistics are used. They are those that the stem's
/// batch norm, of `(gamma, beta)`, and its ReLU give to a normally distributed input, so that it changes little, too, where
/// training takes the batch's own.
///
/// # Errors
/// When the two are no vectors of one length.
pub fn identity(gamma: &Tensor, beta: &Tensor) -> Result<BTreeMap<&'static str, Tensor>> {
    let (gamma, beta) = (gamma.to_vec1::<f32>()?, beta.to_vec1::<f32>()?);
    let channels = gamma.len();
    let moments: Vec<(f64, f64)> =
        gamma.iter().zip(&beta).map(|(g, b)| rectified(f64::from(*b), f64::from(*g))).collect();
    let vector = |number: &dyn Fn(&(f64, f64)) -> f64| {
        let numbers: Vec<f32> = moments.iter().map(|m| number(m) as f32).collect();
        Tensor::from_vec(numbers, channels, &Device::Cpu).context("a vector")
    };
    let mean = vector(&|(mean, _)| *mean)?;
    Ok(BTreeMap::from([
        ("0.weight", Tensor::eye(channels, DType::F32, &Device::Cpu)?.reshape((channels, channels, 1, 1))?),
        ("1.weight", vector(&|(_, var)| (var + BN_EPS).sqrt())?),
        ("1.bias", mean.clone()),
        ("1.running_mean", mean),
        ("1.running_var", vector(&|(_, var)| *var)?),
    ]))
}

/// Mean and variance of `max(y, 0)` for a normally distributed `y`.
fn rectified(mean: f64, deviation: f64) -> (f64, f64) {
    let s = deviation.abs();
    if s == 0.0 {
        return (mean.max(0.0), 0.0);
    }
    let z = mean / s;
    let below = 0.5 * (1.0 + libm::erf(z / std::f64::consts::SQRT_2));
    let density = libm::exp(-0.5 * z * z) / (2.0 * std::f64::consts::PI).sqrt();
    let first = mean * below + s * density;
    let second = (mean * mean + s * s) * below + mean * s * density;
    (first, (second - first * first).max(0.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::rng::{Purpose, Rng};

    #[test]
    fn moments_are_those_of_many_numbers() {
        for (mean, deviation) in [(0.0, 1.0), (0.7, 0.3), (-0.4, 0.5), (-3.0, 1.0), (0.5, -2.0)] {
            let mut rng = Rng::stream(0, Purpose::Test, &[]);
            let n = 200_000;
            let numbers: Vec<f64> = (0..n).map(|_| (mean + deviation * f64::from(rng.normal())).max(0.0)).collect();
            let first = numbers.iter().sum::<f64>() / f64::from(n);
            let var = numbers.iter().map(|x| (x - first).powi(2)).sum::<f64>() / f64::from(n);
            let (want, spread) = rectified(mean, deviation);
            assert!(
                (first - want).abs() < 0.01 && (var - spread).abs() < 0.02,
                "{mean}: {first} {want}, {var} {spread}"
            );
        }
        assert_eq!((rectified(-1.0, 0.0), rectified(2.0, 0.0)), ((0.0, 0.0), (2.0, 0.0)));
    }
}
