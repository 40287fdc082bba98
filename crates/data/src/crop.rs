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
