//! The rows of a PNG that breaks off.

use super::format::Decoded;
use super::options::Wanted;
use super::raster::{Raster, Samples};
use anyhow::{Context, Result, bail};
use png::{BitDepth, ColorType, Decoder, Transformations};
use std::io::Cursor;

/// Decodes as far as there are rows, the rest being zeros; `None` where there is no row, or rows are interlaced.
///
/// # Errors
/// When the header is no PNG's, or names what is not wanted.
pub(super) fn rows(bytes: &[u8], wanted: &Wanted<'_>, data: &mut Vec<u8>) -> Result<Option<Decoded>> {
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let info = reader.info();
    let (size, interlaced) = ((info.height as usize, info.width as usize), info.interlaced);
    wanted.options.check(size)?;
    if interlaced {
        return Ok(None);
    }
    let (colour, depth) = reader.output_color_type();
    let (channels, alpha) = match colour {
        ColorType::Grayscale => (1, false),
        ColorType::GrayscaleAlpha => (2, true),
        ColorType::Rgb => (3, false),
        ColorType::Rgba => (4, true),
        ColorType::Indexed => bail!("its palette is missing"),
    };
    let mut pixels = vec![0; reader.output_buffer_size().context("it is too large")?];
    let (length, mut found) = (pixels.len() / size.0, 0);
    while let Ok(Some(row)) = reader.next_row() {
        pixels[found * length..][..length].copy_from_slice(row.data());
        found += 1;
    }
    if found == 0 {
        return Ok(None);
    }
    let samples = match depth {
        BitDepth::Sixteen => Samples::U16(pixels.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()),
        _ => Samples::U8(pixels),
    };
    Raster { channels, alpha, full: None, samples }.write(wanted, data)?;
    Ok(Some(Decoded::upright(size)))
}
