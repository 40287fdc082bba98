//! Solarisation: bright pixels become dark.

use super::canvas::Canvas;
use super::transform::{Transform, TransformInfo, read};
use serde::Deserialize;
use simclr_core::keys::{Range, Settings};
use simclr_core::rng::Rng;
use simclr_core::table;
use simclr_ops::simd::vectorized;

/// The table's entry of [`Solarize`].
pub static TRANSFORM: TransformInfo =
    TransformInfo { name: "solarize", is_crop: false, read: read::<Solarize>, settings: <Solarize as Settings>::table };

table! {
    /// Inverts what is bright in a share of the views, as BYOL does (Grill et al. 2020, appendix B: after the blur, a fifth of
    /// one of the two views, threshold 0.5).
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Solarize with defaults {
        /// That share.
        pub probability: f32 = 0.2, in Range::SHARE, from "Grill et al. 2020, appendix B";
        /// Values from here on are inverted, in 0..=1.
        pub threshold: f32 = 0.5, in Range::SHARE, from "Grill et al. 2020, appendix B";
    }
}

impl Transform for Solarize {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn apply(&self, view: &mut Canvas<'_>, rng: &mut Rng) {
        if rng.chance(self.probability) {
            solarize(view.planes(), self.threshold);
        }
    }
}

/// `x` below the threshold, `1 - x` from it on, of values that are clipped to 0..1 first.
pub fn solarize(image: &mut [f32], threshold: f32) {
    let one = |v: f32| if v < threshold { v } else { 1.0 - v };
    vectorized(
        #[inline(always)]
        || image.iter_mut().for_each(|v| *v = one(v.clamp(0.0, 1.0))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bright_values_are_inverted() {
        let mut image = [-0.25, 0.0, 0.25, 0.49, 0.5, 0.75, 1.0, 1.5];
        solarize(&mut image, 0.5);
        assert_eq!(image, [0.0, 0.0, 0.25, 0.49, 0.5, 0.25, 0.0, 0.0]);
        // At 0 everything is inverted, and twice is not at all.
        let picture = [0.125, 0.5, 0.875, 0.0, 1.0];
        let mut twice = picture;
        solarize(&mut twice, 0.0);
        assert_eq!(twice, [0.875, 0.5, 0.125, 1.0, 0.0]);
        solarize(&mut twice, 0.0);
        assert_eq!(twice, picture);
    }
}
