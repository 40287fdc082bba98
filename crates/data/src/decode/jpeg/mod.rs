//! JPEG.
//!
//! A picture is decoded by zune-jpeg, at its full scale. What that does not read, or reads wrongly, is decoded by jpeg-decoder:
//! factors of three, luma that is coarser than chroma, lossless ones. The two round differently, so which one decodes hangs on
//! the headers alone.

mod frame;

use super::format::{Decoded, Format};
use super::options::{Options, Wanted};
use super::raster::{Pick, Raster, Samples, luma};
use anyhow::{Context, Result, anyhow, ensure};
use frame::Frame;
use image::metadata::Orientation;
use jpeg_decoder::PixelFormat;
use std::borrow::Cow;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

pub(super) static FORMAT: Format = Format {
    name: "JPEG",
    endings: &["jpg", "jpeg", "jpe", "jfif"],
    is: |bytes| bytes.starts_with(&[0xff, 0xd8, 0xff]),
    size,
    decode,
};

/// Largest side that a JPEG can name.
const JPEG_SIDE: usize = u16::MAX as usize;
/// What ends a JPEG.
const END: [u8; 2] = [0xff, 0xd9];

fn decoder_options() -> DecoderOptions {
    DecoderOptions::default().set_max_width(JPEG_SIDE).set_max_height(JPEG_SIDE)
}

fn size(bytes: &[u8]) -> Result<(usize, usize)> {
    headers(&mut JpegDecoder::new_with_options(ZCursor::new(bytes), decoder_options()))
}

fn headers(decoder: &mut JpegDecoder<ZCursor<&[u8]>>) -> Result<(usize, usize)> {
    decoder.decode_headers().map_err(|error| said(&error))?;
    let info = decoder.info().context("no header")?;
    Ok((usize::from(info.height), usize::from(info.width)))
}

/// The decoder's message, in one line.
fn said(error: &DecodeErrors) -> anyhow::Error {
    let words = format!("{error:?}");
    anyhow!(words.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn decode(bytes: &[u8], wanted: &Wanted<'_>, data: &mut Vec<u8>) -> Result<Decoded> {
    let frame = Frame::of(bytes);
    if let Some(frame) = &frame {
        ensure!(
            !frame.is_arithmetic(),
            "its code is arithmetic, which is not supported: save it anew, as a usual JPEG or PNG"
        );
        ensure!(
            frame.precision == 8 || frame.is_lossless(),
            "it has {} bits a sample, and JPEGs of 8 bits are supported: convert it to a PNG of 16 bits",
            frame.precision
        );
    }
    let keep = wanted.options.keeps_truncated();
    let ends = frame.as_ref().is_some_and(|frame| frame.has_end(bytes));
    if let Some(frame) = frame.as_ref().filter(|frame| frame.is_lossless() || !frame.has_usual_sampling()) {
        return unusual(bytes, frame.precision, ends, wanted, data);
    }
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), decoder_options());
    let size = headers(&mut decoder)?;
    wanted.options.check(size)?;
    ensure!(ends || keep, "it breaks off before its end");
    let orientation = upright(decoder.exif().map(Vec::as_slice), wanted.options);
    let gray = matches!(decoder.input_colorspace(), Some(ColorSpace::Luma | ColorSpace::YCbCr));
    let planes = match (wanted.channels, gray) {
        (1, true) => {
            decoder.set_options(decoder_options().jpeg_set_out_colorspace(ColorSpace::Luma));
            1
        }
        (1 | 3, _) => 3,
        (other, _) => {
            let stored = if decoder.input_colorspace() == Some(ColorSpace::Luma) { 1 } else { 3 };
            Pick::of(stored, false, other)?;
            unreachable!("a JPEG has one or three channels")
        }
    };
    // Cleared: what a damaged picture leaves out must not depend on the picture before.
    data.clear();
    data.resize(size.0 * size.1 * planes, if keep { MISSING } else { 0 });
    match decoder.decode_into(data) {
        Ok(()) => {}
        // Its rows are written as they are decoded.
        Err(_) if keep && !ends && data.iter().any(|v| *v != MISSING) => {}
        Err(error) => {
            // It may break off within the header of one of several scans: those before it are whole.
            let whole = frame.filter(|_| keep && !ends).and_then(|frame| frame.last_segment(bytes));
            let Some(whole) = whole else { return Err(said(&error)) };
            return decode(&[&bytes[..whole], &END].concat(), wanted, data);
        }
    }
    if planes > wanted.channels {
        *data = data.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]])).collect();
    }
    Ok(Decoded { size, orientation })
}

/// What stands where a JPEG breaks off: the gray of a coefficient of 0.
const MISSING: u8 = 128;

fn upright(exif: Option<&[u8]>, options: &Options) -> Orientation {
    let found = exif.filter(|_| options.orientation).and_then(Orientation::from_exif_chunk);
    found.unwrap_or(Orientation::NoTransforms)
}

/// Decodes by the other decoder.
fn unusual(bytes: &[u8], precision: u8, ends: bool, wanted: &Wanted<'_>, data: &mut Vec<u8>) -> Result<Decoded> {
    let keep = wanted.options.keeps_truncated();
    // It goes on with zeros where the end marker comes too early.
    let whole = if ends || !keep { Cow::Borrowed(bytes) } else { Cow::Owned([bytes, END.as_slice()].concat()) };
    let mut decoder = jpeg_decoder::Decoder::new(&*whole);
    decoder.read_info()?;
    let info = decoder.info().context("no header")?;
    let size = (usize::from(info.height), usize::from(info.width));
    wanted.options.check(size)?;
    ensure!(ends || keep, "it breaks off before its end");
    let pixels = decoder.decode()?;
    let (channels, samples) = match info.pixel_format {
        PixelFormat::L8 => (1, Samples::U8(pixels)),
        PixelFormat::L16 => {
            (1, Samples::U16(pixels.as_chunks().0.iter().map(|pair| u16::from_ne_bytes(*pair)).collect()))
        }
        PixelFormat::RGB24 => (3, Samples::U8(pixels)),
        PixelFormat::CMYK32 => (3, Samples::U8(cmyk(&pixels))),
    };
    let full = (9..16).contains(&precision).then(|| [0.0, f64::from((1u32 << precision) - 1)]);
    Raster { channels, alpha: false, full, samples }.write(wanted, data)?;
    Ok(Decoded { size, orientation: upright(decoder.exif_data(), wanted.options) })
}

/// RGB of what Adobe's programs store, inverted: `c k / 255`.
fn cmyk(pixels: &[u8]) -> Vec<u8> {
    let product = |c: u8, k: u8| ((u16::from(c) * u16::from(k) + 127) / 255) as u8;
    pixels.as_chunks::<4>().0.iter().flat_map(|[c, m, y, k]| [c, m, y].map(|c| product(*c, *k))).collect()
}
