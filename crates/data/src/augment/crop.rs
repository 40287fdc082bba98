//! Rectangles of a source image: random ones for training, central ones for evaluation.

use simclr_core::rng::Rng;

/// Width over height of a random crop, before rounding to pixels.
const ASPECT: [f32; 2] = [3.0 / 4.0, 4.0 / 3.0];
/// The share of the image that a random crop covers at least, whatever smaller area is allowed.
const MIN_COVERED: f32 = 0.1;
/// Tries before the whole image is taken.
const ATTEMPTS: usize = 100;

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// First row.
    pub y: usize,
    /// First column.
    pub x: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Rect {
    /// A whole image.
    pub fn whole(height: usize, width: usize) -> Self {
        Self { y: 0, x: 0, height, width }
    }
}

/// A random rectangle of `min_area..=1` of the image, the whole image where none is found.
///
/// The area is not uniform: given an aspect, the height is, among the whole numbers that the area allows. This and the
/// rounding are those of TensorFlow's `sample_distorted_bounding_box`, so small images get the same crops.
pub fn random(height: usize, width: usize, min_area: f32, rng: &mut Rng) -> Rect {
    for _ in 0..ATTEMPTS {
        let aspect = rng.uniform(ASPECT[0], ASPECT[1]);
        if let Some(rect) = attempt(height, width, min_area, aspect, rng)
            && (rect.height * rect.width) as f32 >= MIN_COVERED * (height * width) as f32
        {
            return rect;
        }
    }
    Rect::whole(height, width)
}

fn attempt(image_height: usize, image_width: usize, min_area: f32, aspect: f32, rng: &mut Rng) -> Option<Rect> {
    let max_area = (image_height * image_width) as f32;
    let min_area = min_area * max_area;
    let round = |x: f32| x.round_ties_even() as usize;
    let width_of = |height: usize| round(height as f32 * aspect);

    let lowest = round((min_area / aspect).sqrt());
    let mut highest = round((max_area / aspect).sqrt());
    if width_of(highest) > image_width {
        // The greatest height whose width still fits, after rounding.
        highest = ((image_width as f32 + 0.5 - 1e-7) / aspect) as usize;
        if width_of(highest) > image_width {
            highest -= 1;
        }
    }
    let highest = highest.min(image_height);
    let mut height = lowest.min(highest);
    height += rng.below(highest - height + 1);

    // Rounding may have left the range of areas by a pixel.
    let area = |height: usize| (height * width_of(height)) as f32;
    if area(height) < min_area {
        height += 1;
    }
    if area(height) > max_area {
        height -= 1;
    }
    let width = width_of(height);
    let fits = area(height) >= min_area && area(height) <= max_area && height <= image_height && width <= image_width;
    if !fits || height == 0 || width == 0 {
        return None;
    }
    // The last possible offset is never drawn: so it is in TensorFlow.
    let mut offset = |room: usize| if room > 0 { rng.below(room) } else { 0 };
    let y = offset(image_height - height);
    let x = offset(image_width - width);
    Some(Rect { y, x, height, width })
}

/// The central square of `share` of the shorter side.
pub fn central(height: usize, width: usize, share: f32) -> Rect {
    let side = ((share * height.min(width) as f32).round_ties_even() as usize).max(1);
    Rect { y: (height - side).div_ceil(2), x: (width - side).div_ceil(2), height: side, width: side }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simclr_core::rng::Purpose;

    #[test]
    fn random_crops_lie_inside_and_keep_area_and_aspect() {
        let mut rng = Rng::stream(0, Purpose::Test, &[]);
        for (height, width, min_area) in [(32, 32, 0.08), (375, 500, 0.3), (400, 100, 0.08), (28, 28, 0.5)] {
            for _ in 0..2000 {
                let r = random(height, width, min_area, &mut rng);
                assert!(r.y + r.height <= height && r.x + r.width <= width, "{r:?}");
                let share = (r.height * r.width) as f32 / (height * width) as f32;
                assert!(share >= min_area.max(0.1), "{r:?} covers {share}");
                let aspect = r.width as f32 / r.height as f32;
                assert!(r == Rect::whole(height, width) || (0.72..1.39).contains(&aspect), "{r:?}");
            }
        }
    }

    #[test]
    fn degenerate_images() {
        let mut rng = Rng::stream(1, Purpose::Test, &[]);
        // No crop of a line has an allowed aspect and covers a tenth of it.
        assert_eq!(random(1, 64, 0.08, &mut rng), Rect::whole(1, 64));
        assert_eq!(random(1, 1, 0.08, &mut rng), Rect::whole(1, 1));
        assert_eq!(random(20, 30, 1.0, &mut rng), Rect::whole(20, 30));
    }

    #[test]
    fn central_crops() {
        assert_eq!(central(64, 64, 0.875), Rect { y: 4, x: 4, height: 56, width: 56 });
        // 0.875 * 61 = 53.375; odd margins give the extra pixel to the top and the left.
        assert_eq!(central(61, 83, 0.875), Rect { y: 4, x: 15, height: 53, width: 53 });
        assert_eq!(central(32, 32, 1.0), Rect::whole(32, 32));
    }
}
