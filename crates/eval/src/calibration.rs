//! How sure a classifier may be: a temperature fitted on held-out images, and what it does to the calibration error.
//!
//! Logits are divided by one number, the temperature, before the softmax (Guo et al. 2017): no prediction changes, and
//! probabilities come near to how often they are right. It is the one that makes the held-out labels likeliest.

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use simclr_core::disk;
use simclr_core::run::layout;
use std::path::Path;

/// Bins of the calibration error.
pub const BINS: usize = 15;
/// Inverse temperatures that are searched.
const RANGE: (f64, f64) = (0.02, 50.0);
/// Steps of the search at most.
const STEPS: usize = 100;
/// Likelihoods that differ by less are the same one.
const FLAT: f64 = 1e-9;
/// Rows of one piece of a sum.
const PIECE: usize = 512;

/// What calibration found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// SHA-256 of the weights that it is of.
    pub sha256: String,
    /// What logits are divided by; 1 where none fits better than another.
    pub temperature: f64,
    /// Held-out images that it was fitted on.
    pub examples: usize,
    /// Mean negative log-likelihood of their labels, before and after.
    pub nll: [f64; 2],
    /// Expected calibration error over [`BINS`] bins of equal width, before and after, on the images of the fit.
    pub ece: [f64; 2],
    /// What stands behind the second: images by how sure the network is, after.
    pub bins: Vec<Bin>,
}

/// Images of which the network is about equally sure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// How many.
    pub count: usize,
    /// Their mean probability of the predicted class.
    pub confidence: f64,
    /// Share of them whose predicted class is right.
    pub accuracy: f64,
}

impl Calibration {
    /// Fits logits `[N, classes]` to their labels; `sha256` names the weights that they come from.
    ///
    /// # Errors
    /// When there are none, their numbers do not fit, or a logit is not finite.
    pub fn fit(logits: &[f32], classes: usize, labels: &[u32], sha256: &str) -> Result<Self> {
        ensure!(!labels.is_empty() && classes > 0, "calibration needs labeled held-out images");
        ensure!(logits.len() == classes * labels.len(), "logits and labels differ in number");
        ensure!(labels.iter().all(|l| (*l as usize) < classes), "a label is past the {classes} classes");
        ensure!(logits.iter().all(|l| l.is_finite()), "a logit is not finite: the network did not learn");
        let temperature = temperature(logits, classes, labels);
        let of =
            |temperature| (nll(logits, classes, labels, 1.0 / temperature), bins(logits, classes, labels, temperature));
        let ((before, plain), (after, bins)) = (of(1.0), of(temperature));
        Ok(Self {
            sha256: sha256.into(),
            temperature,
            examples: labels.len(),
            nll: [before, after],
            ece: [ece(&plain), ece(&bins)],
            bins,
        })
    }

    /// What is kept beside some weights, where it is of these weights; a file of others is told and left aside.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn beside(weights: &Path, sha256: &str) -> Result<Option<Self>> {
        let path = weights.with_file_name(layout::CALIBRATION);
        if !path.is_file() {
            return Ok(None);
        }
        let found: Self = serde_json::from_value(disk::read_json(&path)?)
            .with_context(|| format!("{} holds no calibration", path.display()))?;
        ensure!(found.temperature > 0.0 && found.temperature.is_finite(), "{}: no temperature", path.display());
        if found.sha256 != sha256 {
            tracing::warn!("{} is of other weights: probabilities are those of the network itself", path.display());
            return Ok(None);
        }
        Ok(Some(found))
    }
}

/// The temperature under which the labels are likeliest. The likelihood is concave in its inverse, so that a search by
/// thirds finds it; where it has no maximum within the range (every prediction is right), it is 1.
fn temperature(logits: &[f32], classes: usize, labels: &[u32]) -> f64 {
    let at = |log: f64| nll(logits, classes, labels, libm::exp(log));
    let (mut low, mut high) = (libm::log(RANGE.0), libm::log(RANGE.1));
    let ends = (low, high);
    for _ in 0..STEPS {
        let third = (high - low) / 3.0;
        let (left, right) = (low + third, high - third);
        if at(left) <= at(right) {
            high = right
        } else {
            low = left
        }
        if high - low < 1e-7 {
            break;
        }
    }
    let best = (low + high) / 2.0;
    // As good at an end of the range: there is no maximum within it, or all is flat.
    let unbounded = best - ends.0 < 1e-3 || at(ends.1) <= at(best) + FLAT || at(best) > at(0.0);
    if unbounded { 1.0 } else { libm::exp(-best) }
}

/// Mean negative log-likelihood of the labels, logits multiplied by `inverse`.
fn nll(logits: &[f32], classes: usize, labels: &[u32], inverse: f64) -> f64 {
    let one = |(row, label): (&[f32], &u32)| {
        let most = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = row.iter().map(|l| libm::exp((f64::from(*l) - most) * inverse)).sum();
        libm::log(sum) - (f64::from(row[*label as usize]) - most) * inverse
    };
    // Sums of fixed pieces, in order: the same on any number of threads.
    let piece = |(rows, labels): (&[f32], &[u32])| rows.chunks(classes).zip(labels).map(one).sum::<f64>();
    let pieces: Vec<f64> = logits.par_chunks(classes * PIECE).zip(labels.par_chunks(PIECE)).map(piece).collect();
    pieces.into_iter().sum::<f64>() / labels.len() as f64
}

/// Probabilities of a row of logits at a temperature.
pub fn probabilities(logits: &[f32], temperature: f64) -> Vec<f64> {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let mut odds: Vec<f64> = logits.iter().map(|l| libm::exp((f64::from(*l) - most) / temperature)).collect();
    let sum: f64 = odds.iter().sum();
    odds.iter_mut().for_each(|p| *p /= sum);
    odds
}

/// Classes by falling number; of equal ones the lower first.
pub fn likeliest(of: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..of.len()).collect();
    order.sort_by(|a, b| of[*b].total_cmp(&of[*a]));
    order.truncate(count);
    order
}

fn bins(logits: &[f32], classes: usize, labels: &[u32], temperature: f64) -> Vec<Bin> {
    let mut bins = vec![Bin { count: 0, confidence: 0.0, accuracy: 0.0 }; BINS];
    for (row, label) in logits.chunks(classes).zip(labels) {
        let best = likeliest(row, 1)[0];
        let sure = probabilities(row, temperature)[best];
        let bin = &mut bins[((sure * BINS as f64) as usize).min(BINS - 1)];
        bin.count += 1;
        bin.confidence += sure;
        bin.accuracy += f64::from(u8::from(best == *label as usize));
    }
    for bin in bins.iter_mut().filter(|bin| bin.count > 0) {
        bin.confidence /= bin.count as f64;
        bin.accuracy /= bin.count as f64;
    }
    bins
}

/// Mean distance of confidence and accuracy over all images.
fn ece(bins: &[Bin]) -> f64 {
    let all: usize = bins.iter().map(|bin| bin.count).sum();
    let apart = |bin: &Bin| bin.count as f64 * (bin.confidence - bin.accuracy).abs();
    bins.iter().map(apart).sum::<f64>() / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::rng::{Purpose, Rng};

    /// Labels that are drawn with the probabilities of the logits, which are then told ten times as sure.
    fn too_sure(scale: f32) -> (Vec<f32>, Vec<u32>) {
        let (mut rng, mut logits, mut labels) = (Rng::stream(3, Purpose::Test, &[]), Vec::new(), Vec::new());
        for _ in 0..4000 {
            let row: Vec<f32> = (0..4).map(|_| rng.normal() * 1.5).collect();
            let (draw, mut sum) = (f64::from(rng.unit()), 0.0);
            let past = |p: &f64| {
                sum += p;
                sum > draw
            };
            labels.push(probabilities(&row, 1.0).iter().position(past).unwrap_or(3) as u32);
            logits.extend(row.iter().map(|l| l * scale));
        }
        (logits, labels)
    }

    #[test]
    fn the_temperature_that_spoiled_them_is_found() {
        for scale in [10.0, 1.0, 0.25] {
            let (logits, labels) = too_sure(scale);
            let found = Calibration::fit(&logits, 4, &labels, "x").unwrap();
            let ratio = found.temperature / f64::from(scale);
            assert!((0.93..1.07).contains(&ratio), "{scale}: {}", found.temperature);
            assert!(found.ece[1] < 0.03 && found.nll[1] <= found.nll[0], "{found:?}");
            assert!(scale == 1.0 || found.ece[0] > 2.0 * found.ece[1], "{found:?}");
            assert_eq!(found.bins.iter().map(|bin| bin.count).sum::<usize>(), 4000);
            assert_eq!(found, Calibration::fit(&logits, 4, &labels, "x").unwrap());
        }
    }

    #[test]
    fn what_has_no_best_temperature_stays_as_it_is() {
        // All right: the surer, the likelier. All wrong: the less sure, the likelier.
        assert_eq!(Calibration::fit(&[2.0, 0.0, 0.0, 3.0], 2, &[0, 1], "x").unwrap().temperature, 1.0);
        assert_eq!(Calibration::fit(&[2.0, 0.0, 0.0, 3.0], 2, &[1, 0], "x").unwrap().temperature, 1.0);
        assert_eq!(Calibration::fit(&[0.0; 6], 3, &[1, 0], "x").unwrap().temperature, 1.0);
        for (logits, labels) in
            [(vec![], vec![]), (vec![1.0; 3], vec![0]), (vec![1.0; 2], vec![2]), (vec![f32::NAN; 2], vec![0])]
        {
            assert!(Calibration::fit(&logits, 2, &labels, "x").is_err());
        }
    }

    #[test]
    fn the_error_is_that_of_the_definition() {
        // Two images, both 0.75 sure, one right: |0.75 - 0.5|.
        let sure = [libm::logf(3.0), 0.0, libm::logf(3.0), 0.0];
        let bins = bins(&sure, 2, &[0, 1], 1.0);
        assert!((ece(&bins) - 0.25).abs() < 1e-6 && bins[11].count == 2, "{bins:?}");
    }

    #[test]
    fn it_is_found_beside_its_own_weights_alone() {
        let dir = tempfile::tempdir().unwrap();
        let weights = dir.path().join("model.safetensors");
        assert_eq!(Calibration::beside(&weights, "a").unwrap(), None);
        let kept = Calibration::fit(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 2, &[0, 0, 1], "a").unwrap();
        disk::write_json(&dir.path().join(layout::CALIBRATION), &serde_json::json!(kept)).unwrap();
        let found = Calibration::beside(&weights, "a").unwrap().unwrap();
        assert!((found.temperature - kept.temperature).abs() < 1e-9 && found.examples == 3, "{found:?}");
        assert_eq!(Calibration::beside(&weights, "b").unwrap(), None);
        std::fs::write(dir.path().join(layout::CALIBRATION), "{}").unwrap();
        assert!(Calibration::beside(&weights, "a").unwrap_err().to_string().contains("holds no calibration"));
    }
}
