//! Random crops with resize.

use super::canvas::Canvas;
use super::crop;
use super::transform::{Transform, TransformInfo, read};
use serde::Deserialize;
use simclr_core::config::Resize;
use simclr_core::keys::{Range, Settings};
use simclr_core::rng::Rng;
use simclr_core::table;

/// The table's entry of [`RandomCrop`].
pub static TRANSFORM: TransformInfo =
    TransformInfo { name: "crop", is_crop: true, read: read::<RandomCrop>, settings: <RandomCrop as Settings>::table };

table! {
    /// A random part of the image of random aspect, resized: the "random crop with resize" of SimCLR (Chen et al. 2020,
    /// appendix A).
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct RandomCrop with defaults {
        /// Smallest share of the image's area that it keeps.
        pub min_area: f32 = 0.08, in Range::SOME_SHARE, from "Chen et al. 2020, appendix A";
    }
}

impl Transform for RandomCrop {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn apply(&self, view: &mut Canvas<'_>, rng: &mut Rng) {
        let (height, width) = view.image_size();
        view.show(crop::random(height, width, self.min_area, rng), Resize::Tf2);
    }
}
