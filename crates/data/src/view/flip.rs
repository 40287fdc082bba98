//! Mirror images, left to right.

use super::canvas::Canvas;
use super::transform::{Transform, TransformInfo, read};
use anyhow::Result;
use serde::Deserialize;
use simclr_core::config::check_share;
use simclr_core::rng::Rng;

/// The table's entry of [`Flip`].
pub static TRANSFORM: TransformInfo = TransformInfo { name: "flip", is_crop: false, read: read::<Flip> };

/// Mirrors a share of the views left to right.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Flip {
    /// That share.
    pub probability: f32,
}

impl Default for Flip {
    fn default() -> Self {
        Self { probability: 0.5 }
    }
}

impl Transform for Flip {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn check(&self, key: &str) -> Result<()> {
        check_share(&format!("{key}.probability"), f64::from(self.probability))
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
