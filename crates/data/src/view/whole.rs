//! The whole image, resized to a square.

use super::canvas::Canvas;
use super::crop::Rect;
use super::transform::{Transform, TransformInfo, read};
use serde::Deserialize;
use simclr_core::config::Resize;
use simclr_core::keys::Settings;
use simclr_core::rng::Rng;
use simclr_core::table;

/// The table's entry of [`Whole`].
pub static TRANSFORM: TransformInfo =
    TransformInfo { name: "whole", is_crop: true, read: read::<Whole>, settings: <Whole as Settings>::table };

table! {
    /// All of the image, squeezed to a square: its aspect is not kept. It draws nothing.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Whole with defaults {
        /// How it is resized.
        pub resize: Resize = Resize::Tf2;
    }
}

impl Transform for Whole {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn keeps_pixels(&self, image: (usize, usize), side: usize) -> bool {
        image == (side, side)
    }

    fn apply(&self, view: &mut Canvas<'_>, _: &mut Rng) {
        let (height, width) = view.image_size();
        view.show(Rect { y: 0, x: 0, height, width }, self.resize);
    }
}
