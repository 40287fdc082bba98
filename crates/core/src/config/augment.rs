//! The table `[augment]` of an experiment file: how contrastive views are made.

use super::value::{not_negative, share};
use anyhow::Result;
use serde::{Deserialize, Serialize};

/// The random views of contrastive learning (paper, appendix; "v2" colour jitter).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Smallest share of the image's area that a crop keeps.
    pub min_area: f32,
    /// Strength `s` of the colour jitter.
    pub color_strength: f32,
    /// Probability of the jitter.
    pub color_probability: f32,
    /// Probability of dropping colour.
    pub grayscale_probability: f32,
    /// Probability of Gaussian blur; 0 for small images.
    pub blur_probability: f32,
    /// Mirror half of the views left to right.
    pub flip: bool,
    /// On a GPU, distort the colours of pretraining's views and blur them there, from the same draws: the loader's threads
    /// only crop, resize and flip. Views differ in the last bits. On the CPU the key changes nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_device: bool,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            min_area: 0.08,
            color_strength: 1.0,
            color_probability: 0.8,
            grayscale_probability: 0.2,
            blur_probability: 0.5,
            flip: true,
            on_device: false,
        }
    }
}

impl AugmentConfig {
    /// Checks every value that its type does not.
    pub(super) fn check(&self) -> Result<()> {
        let shares = [
            ("min_area", self.min_area),
            ("color_probability", self.color_probability),
            ("grayscale_probability", self.grayscale_probability),
            ("blur_probability", self.blur_probability),
        ];
        for (key, value) in shares {
            share(&format!("augment.{key}"), f64::from(value))?;
        }
        not_negative("augment.color_strength", f64::from(self.color_strength))
    }
}
