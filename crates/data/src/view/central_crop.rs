//! Central crops with resize.

use super::canvas::Canvas;
use super::crop;
use super::transform::{Transform, TransformInfo, read};
use serde::Deserialize;
use simclr_core::config::Resize;
use simclr_core::keys::{Range, Settings};
use simclr_core::rng::Rng;
use simclr_core::table;

/// The table's entry of [`CentralCrop`].
pub static TRANSFORM: TransformInfo = TransformInfo {
    name: "central_crop",
    is_crop: true,
    read: read::<CentralCrop>,
    settings: <CentralCrop as Settings>::table,
};

table! {
    /// The middle of the image, resized; it draws nothing.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct CentralCrop with defaults {
        /// Share of the shorter side that it keeps.
        pub share: f32 = 0.875, in Range::SOME_SHARE, from "the reference, data_util.py";
        /// How it is resized.
        pub resize: Resize = Resize::Tf2;
    }
}

impl Transform for CentralCrop {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
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
