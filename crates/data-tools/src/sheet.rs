//! Contact sheets: many views in one PNG.

use anyhow::{Context, Result, ensure};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ColorType, ImageEncoder};
use simclr_data::source::memory::textures;

/// Pixels between tiles.
const GAP: usize = 2;
/// Examples of each class on the sheet of textures.
const EXAMPLES: usize = 12;

/// PNG bytes of `tiles` (`[size, size, channels]` in 0..=1; of more channels than three the first three are drawn, of two the
/// first), `columns` a row, each pixel drawn `scale` times `scale` large, with a thin white gap between.
///
/// # Errors
/// When a tile has another length, or there is nothing to draw.
pub fn contact_sheet(
    tiles: &[Vec<f32>],
    size: usize,
    channels: usize,
    columns: usize,
    scale: usize,
) -> Result<Vec<u8>> {
    ensure!(!tiles.is_empty() && size > 0 && columns > 0 && scale > 0, "a contact sheet needs tiles of some size");
    ensure!(channels > 0, "tiles of no channels");
    let drawn = if channels < 3 { 1 } else { 3 };
    for (i, tile) in tiles.iter().enumerate() {
        let expected = size * size * channels;
        ensure!(tile.len() == expected, "tile {i} has {} numbers, expected {expected}", tile.len());
    }
    let columns = columns.min(tiles.len());
    let step = size * scale + GAP;
    let (width, height) = (columns * step - GAP, tiles.len().div_ceil(columns) * step - GAP);
    let mut pixels = vec![255u8; width * height * 3];
    for (i, tile) in tiles.iter().enumerate() {
        let (top, left) = (i / columns * step, i % columns * step);
        for y in 0..size * scale {
            for x in 0..size * scale {
                let source = ((y / scale) * size + x / scale) * channels;
                let target = ((top + y) * width + left + x) * 3;
                for c in 0..3 {
                    pixels[target + c] = (tile[source + c % drawn].clamp(0.0, 1.0) * 255.0).round() as u8;
                }
            }
        }
    }
    let mut png = Vec::new();
    // Pixels repeat as they are: prediction between neighbours would only make them longer.
    PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::NoFilter)
        .write_image(&pixels, width as u32, height as u32, ColorType::Rgb8.into())
        .context("encoding a contact sheet")?;
    Ok(png)
}

/// PNG bytes of the first training images of `textures`: a row for each class.
///
/// # Errors
/// As [`contact_sheet`].
pub fn textures_sheet() -> Result<Vec<u8>> {
    let images = textures::split(0, 10 * EXAMPLES);
    let tiles: Vec<Vec<f32>> = (0..images.len())
        .map(|i| {
            let index = i % EXAMPLES * 10 + i / EXAMPLES;
            images.get(index).data.iter().map(|&b| f32::from(b) / 255.0).collect()
        })
        .collect();
    contact_sheet(&tiles, textures::SIDE, 3, EXAMPLES, 2)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tiles_stand_where_they_belong() {
        let tiles = vec![vec![0.0; 4], vec![1.0, 0.0, 0.2, 0.4], vec![2.0; 4]];
        let png = contact_sheet(&tiles, 2, 1, 2, 3).unwrap();
        let image = image::load_from_memory(&png).unwrap().to_rgb8();
        assert_eq!(image.dimensions(), (14, 14));
        let grey = |x, y| image.get_pixel(x, y).0;
        assert_eq!(grey(0, 0), [0; 3]);
        assert_eq!([grey(6, 0), grey(7, 3)], [[255; 3]; 2], "the gap is white");
        assert_eq!([grey(10, 2), grey(11, 2)], [[255; 3], [0; 3]]);
        assert_eq!([grey(8, 3), grey(13, 5)], [[51; 3], [102; 3]]);
        assert_eq!(grey(0, 8), [255; 3], "too bright a tile is clipped");
    }

    #[test]
    fn mistakes_are_errors() {
        assert!(contact_sheet(&[], 2, 1, 2, 3).is_err());
        assert!(contact_sheet(&[vec![0.0; 5]], 2, 1, 2, 3).is_err());
        assert!(contact_sheet(&[vec![0.0; 8]], 2, 0, 2, 3).is_err());
        assert!(contact_sheet(&[vec![0.0; 8]], 2, 2, 2, 3).is_ok(), "of two channels the first is drawn");
    }
}
