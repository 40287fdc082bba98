//! Random colour jitter.

use super::canvas::Canvas;
use super::color;
use super::transform::{OnGpu, Part, Transform, TransformInfo, read};
use anyhow::Result;
use serde::Deserialize;
use simclr_core::config::{check_not_negative, check_share};
use simclr_core::rng::Rng;
use simclr_ops::{ColorOp, Distortion};

/// The table's entry of [`Jitter`].
pub static TRANSFORM: TransformInfo = TransformInfo { name: "jitter", is_crop: false, read: read::<Jitter> };

/// Changes brightness, contrast, saturation and hue of a share of the views, in random order ("v2" of the reference; Chen et
/// al. 2020, appendix A).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jitter {
    /// That share.
    pub probability: f32,
    /// Strength `s`: factors are drawn from 1 ± 0.8 s, turns of hue from ± 0.2 s.
    pub strength: f32,
}

impl Default for Jitter {
    fn default() -> Self {
        Self { probability: 0.8, strength: 1.0 }
    }
}

impl Transform for Jitter {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn check(&self, key: &str) -> Result<()> {
        check_share(&format!("{key}.probability"), f64::from(self.probability))?;
        check_not_negative(&format!("{key}.strength"), f64::from(self.strength))
    }

    fn apply(&self, view: &mut Canvas<'_>, rng: &mut Rng) {
        if let Some(ops) = self.draw(rng) {
            let channels = view.channels();
            color::jitter(view.planes(), channels, &ops);
        }
    }

    fn on_gpu(&self) -> Option<&dyn OnGpu> {
        Some(self)
    }
}

impl OnGpu for Jitter {
    fn part(&self) -> Part {
        Part::Jitter
    }

    fn leave(&self, _: usize, rng: &mut Rng, distortion: &mut Distortion) {
        distortion.jitter = self.draw(rng);
    }
}

impl Jitter {
    fn draw(&self, rng: &mut Rng) -> Option<[ColorOp; 4]> {
        rng.chance(self.probability).then(|| color::draw(self.strength, rng))
    }
}
