//! Encoded pictures to pixels: JPEG, PNG and WebP.
//!
//! What a picture becomes, whatever its format:
//!
//! - Grayscale becomes three equal channels where three are asked for; colour becomes luma where one is.
//! - CMYK and YCCK JPEGs become RGB as `c k / 255` of the inverted values that Adobe's programs write, as in TensorFlow.
//! - Transparency is dropped, not blended; a palette is looked up; an animation gives its first picture.
//! - 16 bits a channel are rounded to 8.
//! - The EXIF orientation is ignored, as the reference ignores it: pixels stay as they are stored.
//! - A JPEG is always decoded at its full scale: the decoder has no scaled inverse transform, and a second decoder that
//!   has one would give other pixels for the same file.
//!
//! Bytes that are no whole picture are errors, never panics; a JPEG that breaks off before its end marker is one of them.

use crate::guard::guarded;
use crate::image::Picture;
use anyhow::{Context, Result, anyhow, bail, ensure};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use std::io::Cursor;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Largest side that a JPEG can name.
const JPEG_SIDE: usize = u16::MAX as usize;
/// Bytes of a pixel while it is decoded, at most: four channels of 16 bits.
const PIXEL_BYTES: u64 = 8;
/// What a decoder may need besides pixels.
const OVERHEAD: u64 = 16 << 20;

/// What a picture may ask for before anything is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Height times width.
    pub max_pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_pixels: simclr_core::config::MAX_PIXELS }
    }
}

/// The formats, told by their first bytes.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Jpeg,
    Png,
    WebP,
}

impl Format {
    fn of(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [] => bail!("the file is empty"),
            [0xff, 0xd8, 0xff, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', ..] => Ok(Self::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            _ => bail!("neither a JPEG, a PNG nor a WebP picture"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
        }
    }
}

/// Decodes a picture to `channels` channels, 1 or 3.
///
/// # Errors
/// When the bytes are no whole picture of a known format, or name more pixels than `limits` allows, which is found from
/// the header alone.
pub fn decode(bytes: &[u8], channels: usize, limits: &Limits) -> Result<Picture> {
    let mut data = Vec::new();
    let (height, width) = decode_into(bytes, channels, limits, &mut data)?;
    Ok(Picture { height, width, channels, data })
}

/// The same into a buffer that is used again; returns height and width.
///
/// # Errors
/// As [`decode`].
pub fn decode_into(bytes: &[u8], channels: usize, limits: &Limits, data: &mut Vec<u8>) -> Result<(usize, usize)> {
    ensure!(channels == 1 || channels == 3, "pictures have 1 or 3 channels, not {channels}");
    let format = Format::of(bytes)?;
    let decoded = guarded(|| match format {
        Format::Jpeg => jpeg(bytes, channels, limits, data),
        Format::Png => other(bytes, ImageFormat::Png, channels, limits, data),
        Format::WebP => other(bytes, ImageFormat::WebP, channels, limits, data),
    });
    let size = decoded.with_context(|| named(format))?;
    debug_assert_eq!(data.len(), size.0 * size.1 * channels);
    Ok(size)
}

/// Height and width, from the header alone.
///
/// # Errors
/// When there is no header of a known format.
pub fn size(bytes: &[u8]) -> Result<(usize, usize)> {
    let format = Format::of(bytes)?;
    let read = guarded(|| match format {
        Format::Jpeg => headers(&mut JpegDecoder::new_with_options(ZCursor::new(bytes), options())),
        Format::Png => Ok(dimensions(&reader(bytes, ImageFormat::Png, u64::MAX).into_decoder()?)),
        Format::WebP => Ok(dimensions(&reader(bytes, ImageFormat::WebP, u64::MAX).into_decoder()?)),
    });
    read.with_context(|| named(format))
}

fn named(format: Format) -> String {
    format!("not a whole {} picture", format.name())
}

fn check((height, width): (usize, usize), limits: &Limits) -> Result<()> {
    let pixels = height as u64 * width as u64;
    ensure!(pixels > 0, "{height}x{width} pixels are none");
    ensure!(
        pixels <= limits.max_pixels,
        "{height}x{width} are {pixels} pixels, data.max_pixels allows {}",
        limits.max_pixels
    );
    Ok(())
}

fn options() -> DecoderOptions {
    DecoderOptions::default().set_max_width(JPEG_SIDE).set_max_height(JPEG_SIDE)
}

fn headers(decoder: &mut JpegDecoder<ZCursor<&[u8]>>) -> Result<(usize, usize)> {
    decoder.decode_headers().map_err(|e| anyhow!("{e:?}"))?;
    let info = decoder.info().context("no header")?;
    Ok((usize::from(info.height), usize::from(info.width)))
}

fn jpeg(bytes: &[u8], channels: usize, limits: &Limits, data: &mut Vec<u8>) -> Result<(usize, usize)> {
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options());
    let (height, width) = headers(&mut decoder)?;
    check((height, width), limits)?;
    ensure!(has_end(bytes), "it breaks off before its end");
    let gray = matches!(decoder.input_colorspace(), Some(ColorSpace::Luma | ColorSpace::YCbCr));
    let direct = channels == 3 || gray;
    if channels == 1 && gray {
        decoder.set_options(options().jpeg_set_out_colorspace(ColorSpace::Luma));
    }
    let planes = if direct { channels } else { 3 };
    // Cleared: what a damaged picture leaves out must not depend on the picture before.
    data.clear();
    data.resize(height * width * planes, 0);
    decoder.decode_into(data).map_err(|e| anyhow!("{e:?}"))?;
    if !direct {
        *data = data.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]])).collect();
    }
    Ok((height, width))
}

/// Brightness as JPEG counts it.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    let part = |v: u8, weight: u32| u32::from(v) * weight;
    ((part(r, 299) + part(g, 587) + part(b, 114) + 500) / 1000) as u8
}

/// Whether the end marker follows the first scan. Before it another picture may stand, in the EXIF data; within it the
/// marker cannot come by chance.
fn has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        match bytes.get(at..at + 2) {
            Some([0xff, 0xff]) => at += 1,
            Some([0xff, 0xda]) => break,
            Some([0xff, 0x01 | 0xd0..=0xd7]) => at += 2,
            Some([0xff, _]) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2),
                _ => return false,
            },
            // Stray bytes between segments, which decoders pass over.
            Some(_) => at += 1,
            None => return false,
        }
    }
    bytes[at..].windows(2).rev().any(|pair| pair == [0xff, 0xd9])
}

fn reader(bytes: &[u8], format: ImageFormat, max_pixels: u64) -> ImageReader<Cursor<&[u8]>> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(max_pixels.saturating_mul(PIXEL_BYTES).saturating_add(OVERHEAD));
    reader.limits(limits);
    reader
}

fn dimensions(decoder: &impl ImageDecoder) -> (usize, usize) {
    let (width, height) = decoder.dimensions();
    (height as usize, width as usize)
}

fn other(
    bytes: &[u8],
    format: ImageFormat,
    channels: usize,
    limits: &Limits,
    data: &mut Vec<u8>,
) -> Result<(usize, usize)> {
    // The decoder itself gets room for the largest picture: the message below is the clearer one.
    let decoder = reader(bytes, format, limits.max_pixels).into_decoder()?;
    let size = dimensions(&decoder);
    check(size, limits)?;
    let picture = DynamicImage::from_decoder(decoder)?;
    *data = match (channels, picture) {
        (1, picture @ (DynamicImage::ImageLuma8(_) | DynamicImage::ImageLuma16(_))) => picture.into_luma8().into_raw(),
        (1, picture @ (DynamicImage::ImageLumaA8(_) | DynamicImage::ImageLumaA16(_))) => {
            picture.into_luma8().into_raw()
        }
        (1, picture) => picture.into_rgb8().pixels().map(|p| luma(p.0)).collect(),
        (_, picture) => picture.into_rgb8().into_raw(),
    };
    Ok(size)
}

#[cfg(test)]
mod tests;
