//! Solarisation: bright pixels become dark.

use super::canvas::Canvas;
use super::transform::{Transform, TransformInfo, read};
use anyhow::Result;
use serde::Deserialize;
use simclr_core::config::check_share;
use simclr_core::rng::Rng;
use simclr_ops::simd::vectorized;

/// The table's entry of [`Solarize`].
pub static TRANSFORM: TransformInfo = TransformInfo { name: "solarize", is_crop: false, read: read::<Solarize> };

/// Inverts what is bright in a share of the views, as BYOL does (Grill et al. 2020, appendix B: after the blur, a fifth of
/// one of the two views, threshold 0.5).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Solarize {
    /// That share.
    pub probability: f32,
    /// Values from here on are inverted, in 0..=1.
    pub threshold: f32,
}

impl Default for Solarize {
    fn default() -> Self {
        Self { probability: 0.2, threshold: 0.5 }
    }
}

impl Transform for Solarize {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn check(&self, key: &str) -> Result<()> {
        check_share(&format!("{key}.probability"), f64::from(self.probability))?;
        check_share(&format!("{key}.threshold"), f64::from(self.threshold))
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
