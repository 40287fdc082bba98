//! Random and central crops: which rectangle of an image a view shows.

use simclr_core::rng::Rng;

/// A part of an image, in pixels.
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

/// Width over height lies between these.
const ASPECT: (f32, f32) = (3.0 / 4.0, 4.0 / 3.0);
/// A crop must cover this share of the image whatever `min_area` says: the reference asks that it covers a tenth of
/// the one box it is given, which is the whole image.
const MIN_COVERED: f32 = 0.1;
/// Tries before the whole image is taken.
const ATTEMPTS: usize = 100;

/// A random crop of at least `min_area` of the image, as TensorFlow's `sample_distorted_bounding_box` draws it.
pub fn random(height: usize, width: usize, min_area: f32, rng: &mut Rng) -> Rect {
    let whole = Rect { y: 0, x: 0, height, width };
    let least = MIN_COVERED * (height * width) as f32;
    for _ in 0..ATTEMPTS {
        let aspect = rng.uniform(ASPECT.0, ASPECT.1);
        if let Some(rect) = attempt(height, width, min_area, aspect, rng)
            && (rect.height * rect.width) as f32 >= least
        {
            return rect;
        }
    }
    whole
}

fn attempt(height: usize, width: usize, min_area: f32, aspect: f32, rng: &mut Rng) -> Option<Rect> {
    let area = (height * width) as f32;
    let (min_area, max_area) = (min_area * area, area);
    let columns = |rows: usize| (rows as f32 * aspect).round_ties_even() as usize;
    let mut rows = (min_area / aspect).sqrt().round_ties_even() as usize;
    let mut max_rows = (max_area / aspect).sqrt().round_ties_even() as usize;
    if columns(max_rows) > width {
        max_rows = ((width as f32 + 0.5 - 1e-7) / aspect) as usize;
        max_rows -= usize::from(columns(max_rows) > width);
    }
    max_rows = max_rows.min(height);
    rows = rows.min(max_rows);
    rows += rng.below(max_rows - rows + 1);
    // Rounding may leave the area just outside its bounds: a row more or less mends it.
    if ((rows * columns(rows)) as f32) < min_area {
        rows += 1;
    }
    if (rows * columns(rows)) as f32 > max_area && rows > 0 {
        rows -= 1;
    }
    let cols = columns(rows);
    let size = (rows * cols) as f32;
    if size < min_area || size > max_area || cols > width || rows > height || cols == 0 || rows == 0 {
        return None;
    }
    // The reference's draw never reaches the last position; whoever compares distributions sees it.
    let y = if rows < height { rng.below(height - rows) } else { 0 };
    let x = if cols < width { rng.below(width - cols) } else { 0 };
    Some(Rect { y, x, height: rows, width: cols })
}

/// The central square that keeps `share` of the shorter side.
pub fn central(height: usize, width: usize, share: f32) -> Rect {
    let side = (share * height.min(width) as f32).round_ties_even().max(1.0) as usize;
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
                assert!(share >= min_area.max(MIN_COVERED), "{r:?} covers {share}");
                let aspect = r.width as f32 / r.height as f32;
                assert!((r.height, r.width) == (height, width) || (0.72..1.39).contains(&aspect), "{r:?}");
            }
        }
    }

    #[test]
    fn degenerate_images_are_taken_whole() {
        let mut rng = Rng::stream(1, Purpose::Test, &[]);
        // No crop of a line has an allowed aspect and covers a tenth of it; no square is all of an oblong.
        for (height, width, min_area) in [(1, 64, 0.08), (1, 1, 0.08), (20, 30, 1.0)] {
            assert_eq!(random(height, width, min_area, &mut rng), Rect { y: 0, x: 0, height, width });
        }
    }

    #[test]
    fn central_crops() {
        assert_eq!(central(64, 64, 0.875), Rect { y: 4, x: 4, height: 56, width: 56 });
        // 0.875 * 61 = 53.375; odd margins give the extra pixel to the top and the left.
        assert_eq!(central(60, 83, 0.875), Rect { y: 4, x: 16, height: 52, width: 52 });
        assert_eq!(central(32, 32, 1.0), Rect { y: 0, x: 0, height: 32, width: 32 });
    }
}
