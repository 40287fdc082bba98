//! Rotations by quarter turns.

use super::canvas::Canvas;
use super::transform::{Transform, TransformInfo, read};
use super::vertical_flip::upside_down;
use serde::Deserialize;
use simclr_core::keys::{Range, Settings};
use simclr_core::rng::Rng;
use simclr_core::table;

/// The table's entry of [`Rotate`].
pub static TRANSFORM: TransformInfo =
    TransformInfo { name: "rotate", is_crop: false, read: read::<Rotate>, settings: <Rotate as Settings>::table };

table! {
    /// Rotates a share of the views by none to three quarter turns, each as likely: the rotation that SimCLR studies (Chen et
    /// al. 2020, figures 4 and 5).
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Rotate with defaults {
        /// That share.
        pub probability: f32 = 1.0, in Range::SHARE;
    }
}

impl Transform for Rotate {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn keeps_pixels(&self, _: (usize, usize), _: usize) -> bool {
        true
    }

    fn apply(&self, view: &mut Canvas<'_>, rng: &mut Rng) {
        if rng.chance(self.probability) {
            let (turns, side) = (rng.below(4), view.side());
            // The pixels of a view that is not turned need not be there yet.
            if turns > 0 {
                view.planes().chunks_exact_mut(side * side).for_each(|plane| turn(plane, side, turns));
            }
        }
    }
}

/// Rotates `[S, S]` by quarter turns, counterclockwise; no pixel is computed anew.
pub fn turn(plane: &mut [f32], side: usize, turns: usize) {
    match turns % 4 {
        1 => {
            transpose(plane, side);
            upside_down(plane, side);
        }
        2 => plane.reverse(),
        3 => {
            upside_down(plane, side);
            transpose(plane, side);
        }
        _ => {}
    }
}

fn transpose(plane: &mut [f32], side: usize) {
    for y in 0..side {
        for x in 0..y {
            plane.swap(y * side + x, x * side + y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_counterclockwise_and_four_are_none() {
        let plane = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        let turned = |turns: usize| {
            let mut turned = plane;
            turn(&mut turned, 3, turns);
            turned
        };
        assert_eq!(turned(0), plane);
        assert_eq!(turned(1), [2.0, 5.0, 8.0, 1.0, 4.0, 7.0, 0.0, 3.0, 6.0]);
        assert_eq!(turned(2), [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
        assert_eq!(turned(3), [6.0, 3.0, 0.0, 7.0, 4.0, 1.0, 8.0, 5.0, 2.0]);
        for turns in 0..4 {
            let mut back = turned(turns);
            turn(&mut back, 3, 4 - turns);
            assert_eq!(back, plane, "{turns} turns and back");
        }
    }
}
