//! Pictures of the dataset, small, as PNGs within a page.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use simclr_data::{ImageRef, Pictures};

/// Longest side; bigger pictures are averaged, to keep the page light.
const SIDE: usize = 64;

/// An image as the source of an `<img>`.
///
/// # Errors
/// When there is none of that number, or it cannot be decoded.
pub fn source(images: &Pictures, index: usize) -> Result<String> {
    ensure!(index < images.len(), "there is no image {index} of {}; was the run made of other data?", images.len());
    let drawn = images.with(index, draw)?;
    Ok(uri(&drawn.with_context(|| format!("{} is damaged", images.place(index)))??))
}

/// A PNG as the source of an `<img>`.
pub fn uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(png))
}

/// As gray, or as colour by the first three channels.
fn draw(image: ImageRef<'_>) -> Result<Vec<u8>> {
    let (color, shown) = if image.channels < 3 { (ExtendedColorType::L8, 1) } else { (ExtendedColorType::Rgb8, 3) };
    let longest = image.height.max(image.width);
    let small = |side: usize| if longest <= SIDE { side } else { (side * SIDE / longest).max(1) };
    let (height, width) = (small(image.height), small(image.width));
    let mut pixels = Vec::with_capacity(height * width * shown);
    for y in 0..height {
        let rows = span(y, height, image.height);
        for x in 0..width {
            let columns = span(x, width, image.width);
            for channel in 0..shown {
                let at =
                    |row: usize, column: usize| image.data[(row * image.width + column) * image.channels + channel];
                let sum: u64 = rows.clone().flat_map(|r| columns.clone().map(move |c| u64::from(at(r, c)))).sum();
                let count = (rows.len() * columns.len()) as u64;
                pixels.push(((sum + count / 2) / count) as u8);
            }
        }
    }
    let mut out = Vec::new();
    let encoder = PngEncoder::new(&mut out);
    encoder.write_image(&pixels, width as u32, height as u32, color).context("encoding a picture")?;
    Ok(out)
}

/// The pixels of `side` that pixel `at` of `small` stands for.
fn span(at: usize, small: usize, side: usize) -> std::ops::Range<usize> {
    at * side / small..((at + 1) * side / small).max(at * side / small + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn large_pictures_are_averaged_and_small_ones_kept() {
        let seen = |height: usize, width: usize, channels: usize, data: &[u8]| {
            let png = draw(ImageRef { height, width, channels, data }).unwrap();
            let image = image::load_from_memory(&png).unwrap();
            (image.height(), image.width(), image.to_rgb8().into_raw())
        };
        assert_eq!(seen(1, 2, 1, &[7, 9]), (1, 2, vec![7, 7, 7, 9, 9, 9]));
        assert_eq!(seen(1, 1, 5, &[1, 2, 3, 4, 5]), (1, 1, vec![1, 2, 3]));
        let stripes: Vec<u8> = (0..128 * 256).map(|i| if i % 2 == 0 { 0 } else { 100 }).collect();
        let (height, width, pixels) = seen(128, 256, 1, &stripes);
        assert_eq!((height, width), (32, 64));
        assert!(pixels.iter().all(|p| *p == 50), "half of each");
        assert_eq!(seen(1, 1000, 3, &[9; 3000]).0, 1, "a strip keeps a row");
    }
}
