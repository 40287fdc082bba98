//! Random grayscale.

use super::canvas::Canvas;
use super::color;
use super::transform::{OnGpu, Part, Transform, TransformInfo, read};
use serde::Deserialize;
use simclr_core::keys::{Range, Settings};
use simclr_core::rng::Rng;
use simclr_core::table;
use simclr_ops::Distortion;

/// The table's entry of [`Grayscale`].
pub static TRANSFORM: TransformInfo = TransformInfo {
    name: "grayscale",
    is_crop: false,
    read: read::<Grayscale>,
    settings: <Grayscale as Settings>::table,
};

table! {
    /// Drops the colour of a share of the views (Chen et al. 2020, appendix A). Images of other than three channels have none.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Grayscale with defaults {
        /// That share.
        pub probability: f32 = 0.2, in Range::SHARE, from "Chen et al. 2020, appendix A";
    }
}

impl Transform for Grayscale {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn apply(&self, view: &mut Canvas<'_>, rng: &mut Rng) {
        if rng.chance(self.probability) && view.channels() == 3 {
            color::grayscale(view.planes());
        }
    }

    fn on_gpu(&self) -> Option<&dyn OnGpu> {
        Some(self)
    }
}

impl OnGpu for Grayscale {
    fn part(&self) -> Part {
        Part::Grayscale
    }

    fn leave(&self, _: usize, rng: &mut Rng, distortion: &mut Distortion) {
        distortion.grayscale = rng.chance(self.probability);
    }
}
