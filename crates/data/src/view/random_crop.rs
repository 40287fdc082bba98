//! Random crops with resize.

use super::canvas::Canvas;
use super::crop;
use super::transform::{Transform, TransformInfo, read};
use anyhow::Result;
use serde::Deserialize;
use simclr_core::config::{Resize, check_share};
use simclr_core::rng::Rng;

/// The table's entry of [`RandomCrop`].
pub static TRANSFORM: TransformInfo = TransformInfo { name: "crop", is_crop: true, read: read::<RandomCrop> };

/// A random part of the image of random aspect, resized: the "random crop with resize" of SimCLR (Chen et al. 2020,
/// appendix A).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomCrop {
    /// Smallest share of the image's area that it keeps.
    pub min_area: f32,
}

impl Default for RandomCrop {
    fn default() -> Self {
        Self { min_area: 0.08 }
    }
}

impl Transform for RandomCrop {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn check(&self, key: &str) -> Result<()> {
        check_share(&format!("{key}.min_area"), f64::from(self.min_area))
    }

    fn apply(&self, view: &mut Canvas<'_>, rng: &mut Rng) {
        let (height, width) = view.image_size();
        view.show(crop::random(height, width, self.min_area, rng), Resize::Tf2);
    }
}
