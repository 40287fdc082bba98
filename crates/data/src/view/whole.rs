//! The whole image, resized to a square.

use super::canvas::Canvas;
use super::crop::Rect;
use super::transform::{Transform, TransformInfo, read};
use anyhow::Result;
use serde::Deserialize;
use simclr_core::config::Resize;
use simclr_core::rng::Rng;

/// The table's entry of [`Whole`].
pub static TRANSFORM: TransformInfo = TransformInfo { name: "whole", is_crop: true, read: read::<Whole> };

/// All of the image, squeezed to a square: its aspect is not kept. It draws nothing.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Whole {
    /// How it is resized.
    pub resize: Resize,
}

impl Transform for Whole {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn check(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn keeps_pixels(&self, image: (usize, usize), side: usize) -> bool {
        image == (side, side)
    }

    fn apply(&self, view: &mut Canvas<'_>, _: &mut Rng) {
        let (height, width) = view.image_size();
        view.show(Rect { y: 0, x: 0, height, width }, self.resize);
    }
}
