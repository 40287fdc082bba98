//! Mirror images, top to bottom.

use super::canvas::Canvas;
use super::transform::{Transform, TransformInfo, read};
use serde::Deserialize;
use simclr_core::keys::{Range, Settings};
use simclr_core::rng::Rng;
use simclr_core::table;

/// The table's entry of [`VerticalFlip`].
pub static TRANSFORM: TransformInfo = TransformInfo {
    name: "vertical_flip",
    is_crop: false,
    read: read::<VerticalFlip>,
    settings: <VerticalFlip as Settings>::table,
};

table! {
    /// Turns a share of the views upside down, as a mirror does: for pictures without an up and down, such as those of
    /// satellites and microscopes (`RandomVerticalFlip` of torchvision).
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct VerticalFlip with defaults {
        /// That share.
        pub probability: f32 = 0.5, in Range::SHARE;
    }
}

impl Transform for VerticalFlip {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn keeps_pixels(&self, _: (usize, usize), _: usize) -> bool {
        true
    }

    fn apply(&self, view: &mut Canvas<'_>, rng: &mut Rng) {
        if rng.chance(self.probability) {
            let side = view.side();
            view.planes().chunks_exact_mut(side * side).for_each(|plane| upside_down(plane, side));
        }
    }
}

/// Changes the order of the rows of `[S, S]`.
pub fn upside_down(plane: &mut [f32], side: usize) {
    let (top, bottom) = plane.split_at_mut(side / 2 * side);
    let rows = top.chunks_exact_mut(side).zip(bottom.chunks_exact_mut(side).rev());
    rows.for_each(|(above, below)| above.swap_with_slice(below));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_change_their_order_and_come_back() {
        let mut plane = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        upside_down(&mut plane, 3);
        assert_eq!(plane, [6.0, 7.0, 8.0, 3.0, 4.0, 5.0, 0.0, 1.0, 2.0]);
        upside_down(&mut plane, 3);
        assert_eq!(plane, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let mut even = [0.0, 1.0, 2.0, 3.0];
        upside_down(&mut even, 2);
        assert_eq!(even, [2.0, 3.0, 0.0, 1.0]);
    }
}
