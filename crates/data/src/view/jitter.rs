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
/// al. 2020, appendix A). Gray has neither saturation nor hue; nor have images of other channels than gray and RGB, each of
/// which is changed by draws of its own.
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
        let Some(ops) = self.draw(rng) else { return };
        let (channels, pixels) = (view.channels(), view.side() * view.side());
        if matches!(channels, 1 | 3) {
            return color::jitter(view.planes(), channels, &ops);
        }
        // Other channels are of different things: each has its own brightness and contrast.
        for (channel, plane) in view.planes().chunks_exact_mut(pixels).enumerate() {
            let ops = if channel == 0 { ops } else { color::draw(self.strength, rng) };
            color::jitter(plane, 1, &ops);
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
