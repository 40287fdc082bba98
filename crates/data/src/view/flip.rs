//! Mirror images, left to right.

use super::canvas::Canvas;
use super::transform::{Transform, TransformInfo, read};
use serde::Deserialize;
use simclr_core::keys::{Range, Settings};
use simclr_core::rng::Rng;
use simclr_core::table;

/// The table's entry of [`Flip`].
pub static TRANSFORM: TransformInfo =
    TransformInfo { name: "flip", is_crop: false, read: read::<Flip>, settings: <Flip as Settings>::table };

table! {
    /// Mirrors a share of the views left to right.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Flip with defaults {
        /// That share.
        pub probability: f32 = 0.5, in Range::SHARE, from "Chen et al. 2020, appendix A";
    }
}

impl Transform for Flip {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn keeps_pixels(&self, _: (usize, usize), _: usize) -> bool {
        true
    }

    fn apply(&self, view: &mut Canvas<'_>, rng: &mut Rng) {
        if rng.chance(self.probability) {
            view.mirror();
        }
    }
}
