//! Encoded pictures to pixels: one table of formats, and a file for each.
//!
//! What a picture becomes, whatever its format:
//!
//! - Grayscale becomes three equal channels where three are asked for; colour becomes luma where one is. Any other number of
//!   channels must be that of the file.
//! - CMYK and YCCK JPEGs become RGB as `c k / 255` of the inverted values that Adobe's programs write, as in TensorFlow.
//! - Transparency is dropped, not blended, unless it is the last of the channels that are asked for; a palette is looked up; of
//!   an animation, or of several pages, the first is taken.
//! - Of more than 8 bits all that the type can hold is spread over 0 to 255 and rounded, or what `data.range` names.
//! - The EXIF orientation is ignored, as the reference ignores it, unless `data.orientation` is set.
//! - A JPEG is always decoded at its full scale: the decoder has no scaled inverse transform, and a second decoder that
//!   has one would give other pixels for the same file.
//!
//! Bytes that are no whole picture are errors, never panics; a JPEG that breaks off before its end marker is one of them, unless
//! `data.on_truncated` keeps it.
//!
//! To add a format: a file with its `Format`, and its line here.

mod common;
mod foreign;
mod format;
mod jpeg;
mod npy;
mod options;
mod png;
mod raster;
mod tiff;
mod turn;

pub use options::Options;

use crate::guard::guarded;
use crate::image::Picture;
use anyhow::{Context, Result, anyhow, bail, ensure};
use format::Format;
use options::Wanted;
use raster::{Raster, Samples};
use simclr_core::config::MAX_CHANNELS;

/// The formats, told by their first bytes.
static FORMATS: &[&Format] = &[
    &jpeg::FORMAT,
    &common::PNG,
    &common::WEBP,
    &common::BMP,
    &common::GIF,
    &common::PNM,
    &tiff::FORMAT,
    &npy::FORMAT,
];

/// What the names of pictures end in, in lower case; other files are no pictures.
pub fn endings() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().flat_map(|format| format.endings).copied()
}

fn format_of(bytes: &[u8]) -> Result<&'static Format> {
    if bytes.is_empty() {
        bail!("the file is empty")
    }
    FORMATS.iter().find(|format| (format.is)(bytes)).copied().ok_or_else(|| match foreign::advice(bytes) {
        Some(advice) => anyhow!(advice),
        None => {
            let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
            anyhow!("none of the known kinds of pictures: {}", names.join(", "))
        }
    })
}

/// Decodes a picture to `channels` channels, 1 to 16.
///
/// # Errors
/// When the bytes are no whole picture of a known format, cannot give as many channels, or name more pixels than the options
/// allow, which is found from the header alone.
pub fn decode(bytes: &[u8], channels: usize, options: &Options) -> Result<Picture> {
    let mut data = Vec::new();
    let (height, width) = decode_into(bytes, channels, options, &mut data)?;
    Ok(Picture { height, width, channels, data })
}

/// The same into a buffer that is used again; returns height and width.
///
/// # Errors
/// As [`decode`].
pub fn decode_into(bytes: &[u8], channels: usize, options: &Options, data: &mut Vec<u8>) -> Result<(usize, usize)> {
    ensure!((1..=MAX_CHANNELS).contains(&channels), "pictures have 1 to {MAX_CHANNELS} channels, not {channels}");
    let format = format_of(bytes)?;
    let decoded = guarded(|| (format.decode)(bytes, &Wanted { channels, options }, data));
    let decoded = decoded.with_context(|| named(format))?;
    let (height, width) = decoded.size;
    ensure!(data.len() == height * width * channels, "{}: {} bytes for {height}x{width}", named(format), data.len());
    Ok(turn::upright(data, decoded.size, channels, decoded.orientation))
}

/// Height and width as stored, from the header alone.
///
/// # Errors
/// When there is no header of a known format.
pub fn size(bytes: &[u8]) -> Result<(usize, usize)> {
    let format = format_of(bytes)?;
    guarded(|| (format.size)(bytes)).with_context(|| named(format))
}

/// Bytes `[.., from]` as `[.., to]`: gray to three equal channels, colour to its brightness.
///
/// # Errors
/// When the numbers of channels are other ones.
pub(crate) fn recoloured(data: Vec<u8>, from: usize, to: usize) -> Result<Vec<u8>> {
    if from == to {
        return Ok(data);
    }
    let mut made = Vec::new();
    let pixels = Raster { channels: from, alpha: false, full: None, samples: Samples::U8(data) };
    pixels.write(&Wanted { channels: to, options: &Options::default() }, &mut made)?;
    Ok(made)
}

fn named(format: &Format) -> String {
    format!("not a whole {} picture", format.name)
}

#[cfg(test)]
mod tests;
