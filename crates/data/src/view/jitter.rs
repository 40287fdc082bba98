//! Random colour jitter.

use super::canvas::Canvas;
use super::color;
use super::transform::{OnGpu, Part, Transform, TransformInfo, read};
use serde::Deserialize;
use simclr_core::config::STRENGTH;
use simclr_core::keys::{Range, Settings};
use simclr_core::rng::Rng;
use simclr_core::table;
use simclr_ops::{ColorOp, Distortion};

/// The table's entry of [`Jitter`].
pub static TRANSFORM: TransformInfo =
    TransformInfo { name: "jitter", is_crop: false, read: read::<Jitter>, settings: <Jitter as Settings>::table };

table! {
    /// Changes brightness, contrast, saturation and hue of a share of the views, in random order ("v2" of the reference; Chen et
    /// al. 2020, appendix A). Gray has neither saturation nor hue; nor have images of other channels than gray and RGB, each of
    /// which is changed by draws of its own.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Jitter with defaults {
        /// That share.
        pub probability: f32 = 0.8, in Range::SHARE, from "Chen et al. 2020, appendix A";
        /// Strength `s`: factors are drawn from 1 ± 0.8 s, turns of hue from ± 0.2 s.
        pub strength: f32 = 1.0, in STRENGTH, from "Chen et al. 2020, appendix A";
    }
}

impl Transform for Jitter {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
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
