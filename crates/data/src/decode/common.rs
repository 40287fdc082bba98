//! PNG, WebP, BMP, GIF and PNM, which the crate `image` decodes.

use super::format::{Decoded, Format};
use super::options::Wanted;
use super::png;
use super::raster::{Raster, Samples};
use anyhow::{Result, bail};
use image::codecs::pnm::PnmDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use std::io::Cursor;

pub(super) static PNG: Format = Format {
    name: "PNG",
    endings: &["png", "apng"],
    is: |bytes| bytes.starts_with(b"\x89PNG"),
    size: |bytes| size(bytes, ImageFormat::Png),
    decode: |bytes, wanted, data| match picture(bytes, ImageFormat::Png, wanted, None, data) {
        Err(error) if wanted.options.keeps_truncated() => match png::rows(bytes, wanted, data) {
            Ok(Some(decoded)) => Ok(decoded),
            _ => Err(error),
        },
        decoded => decoded,
    },
};

pub(super) static WEBP: Format = Format {
    name: "WebP",
    endings: &["webp"],
    is: |bytes| matches!(bytes, [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..]),
    size: |bytes| size(bytes, ImageFormat::WebP),
    decode: |bytes, wanted, data| picture(bytes, ImageFormat::WebP, wanted, None, data),
};

pub(super) static BMP: Format = Format {
    name: "BMP",
    endings: &["bmp", "dib"],
    // The length of the header that follows the file's own, lest any file that begins with these letters be one.
    is: |bytes| bytes.starts_with(b"BM") && matches!(bytes.get(14..18), Some([12..=124, 0, 0, 0])),
    size: |bytes| size(bytes, ImageFormat::Bmp),
    decode: |bytes, wanted, data| picture(bytes, ImageFormat::Bmp, wanted, None, data),
};

pub(super) static GIF: Format = Format {
    name: "GIF",
    endings: &["gif"],
    is: |bytes| bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a"),
    size: |bytes| size(bytes, ImageFormat::Gif),
    decode: |bytes, wanted, data| picture(bytes, ImageFormat::Gif, wanted, None, data),
};

pub(super) static PNM: Format = Format {
    name: "PNM",
    endings: &["pnm", "pbm", "pgm", "ppm", "pam"],
    is: |bytes| matches!(bytes, [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n' | b'#', ..]),
    size: |bytes| size(bytes, ImageFormat::Pnm),
    decode: |bytes, wanted, data| {
        // The header says which number is white.
        let white = PnmDecoder::new(Cursor::new(bytes))?.into_inner().1.maximal_sample();
        picture(bytes, ImageFormat::Pnm, wanted, Some(white), data)
    },
};

/// Bytes of a pixel while it is decoded, at most: four channels of 16 bits.
const PIXEL_BYTES: u64 = 8;
/// What a decoder may need besides pixels.
const OVERHEAD: u64 = 16 << 20;

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

fn size(bytes: &[u8], format: ImageFormat) -> Result<(usize, usize)> {
    Ok(dimensions(&reader(bytes, format, u64::MAX).into_decoder()?))
}

/// Decodes a picture of one of these formats; `white` is the number that the decoder has made the largest.
fn picture(
    bytes: &[u8],
    format: ImageFormat,
    wanted: &Wanted<'_>,
    white: Option<u32>,
    data: &mut Vec<u8>,
) -> Result<Decoded> {
    // The decoder itself gets room for the largest picture: the message below is the clearer one.
    let mut decoder = reader(bytes, format, wanted.options.max_pixels).into_decoder()?;
    let size = dimensions(&decoder);
    wanted.options.check(size)?;
    let orientation = if wanted.options.orientation { decoder.orientation()? } else { Orientation::NoTransforms };
    let (channels, alpha, samples) = match DynamicImage::from_decoder(decoder)? {
        DynamicImage::ImageLuma8(i) => (1, false, Samples::U8(i.into_raw())),
        DynamicImage::ImageLumaA8(i) => (2, true, Samples::U8(i.into_raw())),
        DynamicImage::ImageRgb8(i) => (3, false, Samples::U8(i.into_raw())),
        DynamicImage::ImageRgba8(i) => (4, true, Samples::U8(i.into_raw())),
        DynamicImage::ImageLuma16(i) => (1, false, Samples::U16(i.into_raw())),
        DynamicImage::ImageLumaA16(i) => (2, true, Samples::U16(i.into_raw())),
        DynamicImage::ImageRgb16(i) => (3, false, Samples::U16(i.into_raw())),
        DynamicImage::ImageRgba16(i) => (4, true, Samples::U16(i.into_raw())),
        other => bail!("pixels of {:?} are not supported", other.color()),
    };
    let (full, samples) = match (white, samples) {
        // A range is one of the numbers in the file.
        (Some(white @ 256..65535), Samples::U16(spread)) => {
            let number = |v: u16| ((u32::from(v) * white + 32767) / 65535) as u16;
            (Some([0.0, f64::from(white)]), Samples::U16(spread.into_iter().map(number).collect()))
        }
        (_, samples) => (None, samples),
    };
    Raster { channels, alpha, full, samples }.write(wanted, data)?;
    Ok(Decoded { size, orientation })
}
