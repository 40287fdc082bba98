//! TIFF: its first picture, of any number of channels.

use super::format::{Decoded, Format};
use super::options::Wanted;
use super::raster::{Pick, Raster, Samples, from_cmyk, from_ycbcr};
use anyhow::{Context, Result, bail, ensure};
use image::metadata::Orientation;
use simclr_core::config::MAX_CHANNELS;
use std::borrow::Cow;
use std::io::Cursor;
use std::sync::Once;
use tiff::decoder::{BufferLayoutPreference, ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::{PhotometricInterpretation, Tag};
use tiff::{ColorType, TiffError};

pub(super) static FORMAT: Format = Format {
    name: "TIFF",
    endings: &["tif", "tiff"],
    // Of either order of bytes, small and big.
    is: |bytes| matches!(bytes, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..]),
    size: |bytes| dimensions(&mut Decoder::new(Cursor::new(bytes))?),
    decode,
};

/// What a decoder may need besides pixels.
const OVERHEAD: usize = 16 << 20;
/// Bytes of a number, at most.
const NUMBER: usize = 8;
/// Where colours are the usual: the value of [`Tag::PhotometricInterpretation`] whose samples are taken as they are.
const BLACK_IS_ZERO: u16 = 1;

type Reader<'a> = Decoder<Cursor<Cow<'a, [u8]>>>;

fn dimensions<R: std::io::Read + std::io::Seek>(decoder: &mut Decoder<R>) -> Result<(usize, usize)> {
    let (width, height) = decoder.dimensions()?;
    Ok((height as usize, width as usize))
}

/// What the numbers of a pixel mean.
#[derive(Clone, Copy, PartialEq)]
enum Colours {
    AsStored,
    Palette,
    Cmyk,
    YCbCr,
}

fn decode(bytes: &[u8], wanted: &Wanted<'_>, data: &mut Vec<u8>) -> Result<Decoded> {
    let mut decoder: Reader<'_> = Decoder::new(Cursor::new(Cow::Borrowed(bytes)))?;
    let size = dimensions(&mut decoder)?;
    wanted.options.check(size)?;
    let number = |decoder: &mut Reader<'_>, tag| decoder.find_tag_unsigned::<u16>(tag);
    let stored = usize::from(number(&mut decoder, Tag::SamplesPerPixel)?.unwrap_or(1));
    ensure!(stored <= MAX_CHANNELS, "it has {stored} channels, and {MAX_CHANNELS} are the most");
    let meaning = number(&mut decoder, Tag::PhotometricInterpretation)?.and_then(PhotometricInterpretation::from_u16);
    let palette = meaning == Some(PhotometricInterpretation::RGBPalette);
    let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples)?.unwrap_or_default();
    // 1 and 2 are transparency, blended in or not.
    let mut alpha = stored > 1 && matches!(extra.last(), Some(1 | 2));
    let map = if palette { decoder.find_tag_unsigned_vec::<u16>(Tag::ColorMap)? } else { None };
    let turn = if wanted.options.orientation { number(&mut decoder, Tag::Orientation)? } else { None };
    let orientation = turn.and_then(|turn| Orientation::from_exif(u8::try_from(turn).ok()?));
    if decoder.more_images() {
        static SAID: Once = Once::new();
        SAID.call_once(|| {
            tracing::warn!("a TIFF file holds several pictures: of such files the first picture is used")
        });
    }
    // The decoder refuses palettes and leaves out channels beside colours; shown as plain numbers, it gives all.
    let plain = palette || (meaning == Some(PhotometricInterpretation::RGB) && stored > 3 + usize::from(alpha));
    if plain {
        decoder = Decoder::new(Cursor::new(Cow::Owned(with_meaning(bytes, BLACK_IS_ZERO)?)))?;
    }
    let (colours, mut channels) = match decoder.colortype()? {
        _ if palette => (Colours::Palette, 3),
        ColorType::CMYK(_) | ColorType::CMYKA(_) => (Colours::Cmyk, 3),
        ColorType::YCbCr(_) => (Colours::YCbCr, 3),
        ColorType::Lab(_) => bail!("its colours are Lab, which are not supported: convert them to RGB"),
        ColorType::RGB(_) if !plain => (Colours::AsStored, 3),
        _ => (Colours::AsStored, stored),
    };
    alpha &= channels == stored;
    // Known from the header, too.
    Pick::of(channels, alpha, wanted.channels)?;
    let layout = decoder.image_buffer_layout()?;
    let most = (size.0 * size.1).saturating_mul(MAX_CHANNELS * NUMBER);
    ensure!(layout.complete_len <= most, "{} bytes are too many for {}x{} pixels", layout.complete_len, size.0, size.1);
    let room = layout.complete_len.saturating_add(OVERHEAD);
    let mut limits = Limits::default();
    (limits.decoding_buffer_size, limits.intermediate_buffer_size) = (room, room);
    decoder = decoder.with_limits(limits);
    ensure!(
        layout.planes <= 1 || decoder.get_chunk_type() == ChunkType::Strip,
        "its planes are tiles, which is not supported: save it pixel by pixel, or in strips"
    );
    let bits = decoder.colortype()?.bit_depth();
    let mut read = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut read).map_err(supported)?;
    let samples = numbers(read, &layout, size, (stored, bits))?;
    let samples = match (colours, samples) {
        (Colours::AsStored, samples) => samples,
        (Colours::Palette, Samples::U8(indices)) => looked_up(&indices, map.context("its palette is missing")?, bits)?,
        (Colours::Cmyk, Samples::U8(inks)) => Samples::U8(from_cmyk(&inks, inks.len() / (size.0 * size.1))),
        (Colours::YCbCr, Samples::U8(colours)) => Samples::U8(from_ycbcr(&colours)),
        _ => bail!("its colours of more than 8 bits are neither gray nor RGB: convert them"),
    };
    let full = match (&samples, colours) {
        (Samples::U8(_), Colours::AsStored) if bits < 8 => Some([0.0, f64::from((1u16 << bits) - 1)]),
        _ => None,
    };
    if matches!(samples, Samples::U8(_)) && colours != Colours::AsStored {
        channels = 3;
    }
    Raster { channels, alpha, full, samples }.write(wanted, data)?;
    Ok(Decoded { size, orientation: orientation.unwrap_or(Orientation::NoTransforms) })
}

/// The decoder's messages, with what to do where it lacks something.
fn supported(error: TiffError) -> anyhow::Error {
    match error {
        TiffError::UnsupportedError(what) => {
            anyhow::anyhow!("{what}: save it anew, with 8 or 16 bits a number, by LZW or deflate")
        }
        other => other.into(),
    }
}

/// The same file, whose first picture states another meaning of its numbers.
fn with_meaning(bytes: &[u8], meaning: u16) -> Result<Vec<u8>> {
    let (little, big) = (bytes[0] == b'I', bytes[2..4].contains(&43));
    let number = |at: usize, length: usize| -> Result<u64> {
        let bytes = bytes.get(at..at + length).context("its directory is cut short")?;
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(if little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    };
    // Where the directory is, how long its count and its entries are, and where in an entry the value stands.
    let (at, count, entry, value) = if big { (number(8, 8)?, 8, 20, 12) } else { (number(4, 4)?, 2, 12, 8) };
    let at = usize::try_from(at)?;
    ensure!(at < bytes.len(), "its directory is cut short");
    for i in 0..number(at, count)? as usize {
        let entry = at + count + i * entry;
        if number(entry, 2)? == u64::from(Tag::PhotometricInterpretation.to_u16()) {
            let mut changed = bytes.to_vec();
            let meaning = if little { meaning.to_le_bytes() } else { meaning.to_be_bytes() };
            changed
                .get_mut(entry + value..entry + value + 2)
                .context("its directory is cut short")?
                .copy_from_slice(&meaning);
            return Ok(changed);
        }
    }
    bail!("it does not say what its numbers mean")
}

/// What was read, pixel by pixel.
fn numbers(
    read: DecodingResult,
    layout: &BufferLayoutPreference,
    size: (usize, usize),
    (channels, bits): (usize, u8),
) -> Result<Samples> {
    let (pixels, planes) = (size.0 * size.1, layout.planes);
    Ok(match read {
        DecodingResult::U8(v) if bits < 8 => {
            ensure!(planes == 1, "planes of {bits} bits are not supported");
            let stride = layout.row_stride.map_or(0, usize::from);
            Samples::U8(unpacked(&v, (size.0, size.1 * channels), stride, bits)?)
        }
        DecodingResult::U8(v) => Samples::U8(interleaved(v, pixels, planes)),
        DecodingResult::I8(v) => Samples::I8(interleaved(v, pixels, planes)),
        DecodingResult::U16(v) => Samples::U16(interleaved(v, pixels, planes)),
        DecodingResult::I16(v) => Samples::I16(interleaved(v, pixels, planes)),
        DecodingResult::U32(v) => Samples::U32(interleaved(v, pixels, planes)),
        DecodingResult::I32(v) => Samples::I32(interleaved(v, pixels, planes)),
        DecodingResult::F16(v) => {
            Samples::F32(interleaved(v, pixels, planes).into_iter().map(|v| v.to_f32()).collect())
        }
        DecodingResult::F32(v) => Samples::F32(interleaved(v, pixels, planes)),
        DecodingResult::F64(v) => Samples::F64(interleaved(v, pixels, planes)),
        DecodingResult::U64(_) | DecodingResult::I64(_) => bail!("whole numbers of 64 bits are not supported"),
    })
}

/// Pixels of planes `[C, H, W]`; those of one plane are pixels already.
fn interleaved<T: Copy>(numbers: Vec<T>, pixels: usize, planes: usize) -> Vec<T> {
    if planes <= 1 {
        return numbers;
    }
    (0..pixels * planes).map(|i| numbers[i % planes * pixels + i / planes]).collect()
}

/// Numbers of less than a byte, the first in the highest bits; each row begins with a byte.
fn unpacked(bytes: &[u8], (height, numbers): (usize, usize), stride: usize, bits: u8) -> Result<Vec<u8>> {
    let bits = usize::from(bits);
    ensure!(matches!(bits, 1 | 2 | 4), "{bits} bits a number are not supported");
    ensure!(stride > 0 && bytes.len() >= stride * height, "it breaks off before its end");
    ensure!(stride * 8 >= numbers * bits, "its rows are too short");
    let mask = ((1u16 << bits) - 1) as u8;
    let at = |row: &[u8], i: usize| row[i * bits / 8] >> (8 - bits - i * bits % 8) & mask;
    Ok(bytes
        .chunks_exact(stride)
        .take(height)
        .flat_map(|row| (0..numbers).map(|i| at(row, i)).collect::<Vec<_>>())
        .collect())
}

/// RGB of numbers of a palette, `[3, colours]`. Its 16 bits hold 8 in some files: where none is larger.
fn looked_up(indices: &[u8], map: Vec<u16>, bits: u8) -> Result<Samples> {
    let colours = map.len() / 3;
    ensure!(colours > 0 && map.len() >= 3 << bits, "its palette holds {colours} of {} colours", 1 << bits);
    let shift = if map.iter().all(|v| *v < 256) { 0 } else { 8 };
    let colour = |i: &u8| [0, 1, 2].map(|c| (map[c * colours + usize::from(*i)] >> shift) as u8);
    Ok(Samples::U8(indices.iter().flat_map(colour).collect()))
}
