//! Central crops with resize.

use super::canvas::Canvas;
use super::crop;
use super::transform::{Transform, TransformInfo, read};
use anyhow::Result;
use serde::Deserialize;
use simclr_core::config::{Resize, check_share};
use simclr_core::rng::Rng;

/// The table's entry of [`CentralCrop`].
pub static TRANSFORM: TransformInfo = TransformInfo { name: "central_crop", is_crop: true, read: read::<CentralCrop> };

/// The middle of the image, resized; it draws nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CentralCrop {
    /// Share of the shorter side that it keeps.
    pub share: f32,
    /// How it is resized.
    pub resize: Resize,
}

impl Default for CentralCrop {
    fn default() -> Self {
        Self { share: 0.875, resize: Resize::Tf2 }
    }
}

impl Transform for CentralCrop {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn check(&self, key: &str) -> Result<()> {
        check_share(&format!("{key}.share"), f64::from(self.share))
    }

    fn keeps_pixels(&self, (height, width): (usize, usize), side: usize) -> bool {
        let shown = crop::central(height, width, self.share);
        (shown.height, shown.width) == (side, side)
    }

    fn apply(&self, view: &mut Canvas<'_>, _: &mut Rng) {
        let (height, width) = view.image_size();
        view.show(crop::central(height, width, self.share), self.resize);
    }
}
