//! Pixels as a file holds them, and how they become bytes of the channels that are asked for.

use super::options::{Options, Wanted};
use anyhow::{Result, bail};
use simclr_core::config::{EachRange, Range};

/// Numbers of one type.
pub(super) enum Samples {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// `[H, W, C]` numbers.
pub(super) struct Raster {
    /// C, with transparency.
    pub channels: usize,
    /// Whether the last channel is transparency.
    pub alpha: bool,
    /// The numbers that are black and white where the file says so and no range is asked for.
    pub full: Option<[f64; 2]>,
    pub samples: Samples,
}

/// Which of a file's channels become those that are asked for.
#[derive(Clone, Copy)]
pub(super) enum Pick {
    /// All of them; the last is transparency where `alpha`.
    All { alpha: bool },
    /// The first ones: what follows is transparency.
    First(usize),
    /// The first one, three times.
    Thrice,
    /// Brightness of the first three.
    Luma,
}

impl Pick {
    /// Gray gives three equal channels and colour its brightness where the other is asked for. Transparency is dropped, unless
    /// it makes up the number of channels. Other numbers of channels are not made of one another.
    ///
    /// # Errors
    /// When a file of `channels`, transparency included, cannot give as many as are `asked` for.
    pub fn of(channels: usize, alpha: bool, asked: usize) -> Result<Self> {
        let colours = channels - usize::from(alpha);
        match (colours, asked) {
            (1, 3) => Ok(Self::Thrice),
            (3, 1) => Ok(Self::Luma),
            _ if colours == asked && alpha => Ok(Self::First(colours)),
            _ if channels == asked => Ok(Self::All { alpha }),
            _ => {
                let besides = if alpha { ", the last of them transparency," } else { "" };
                let s = if channels == 1 { "" } else { "s" };
                bail!("it has {channels} channel{s}{besides} and data.channels asks for {asked}")
            }
        }
    }
}

/// Brightness as JPEG counts it.
pub(super) fn luma([r, g, b]: [u8; 3]) -> u8 {
    let part = |v: u8, weight: u32| u32::from(v) * weight;
    ((part(r, 299) + part(g, 587) + part(b, 114) + 500) / 1000) as u8
}

/// RGB of inks, of which 0 is none.
pub(super) fn from_cmyk(inks: &[u8], channels: usize) -> Vec<u8> {
    let left = |ink: u8, black: u8| ((u16::from(255 - ink) * u16::from(255 - black) + 127) / 255) as u8;
    inks.chunks_exact(channels.max(4)).flat_map(|p| [0, 1, 2].map(|c| left(p[c], p[3]))).collect()
}

/// RGB of luma and chroma, as JPEG has them.
pub(super) fn from_ycbcr(pixels: &[u8]) -> Vec<u8> {
    let rgb = |[y, b, r]: &[u8; 3]| {
        let (y, b, r) = (f32::from(*y), f32::from(*b) - 128.0, f32::from(*r) - 128.0);
        [y + 1.402 * r, y - 0.344_136 * b - 0.714_136 * r, y + 1.772 * b].map(|v| v.clamp(0.0, 255.0).round() as u8)
    };
    pixels.as_chunks().0.iter().flat_map(rgb).collect()
}

impl Raster {
    /// Writes the bytes, `[H, W, asked]`.
    ///
    /// # Errors
    /// When the file has other channels than are asked for, or numbers whose black and white nothing tells.
    pub fn write(self, wanted: &Wanted<'_>, data: &mut Vec<u8>) -> Result<()> {
        let pick = Pick::of(self.channels, self.alpha, wanted.channels)?;
        let (channels, options, full) = (self.channels, wanted.options, self.full);
        match self.samples {
            // The usual case costs no copy.
            Samples::U8(bytes) if full.is_none() && matches!(pick, Pick::All { .. }) => *data = bytes,
            Samples::U8(bytes) => match full {
                None => convert(&bytes, channels, pick, |v| v, |v| v, data),
                Some(_) => scaled(&bytes, channels, pick, (full, &Options::default()), |v| v, data),
            },
            Samples::I8(n) => convert(&n, channels, pick, of_i8, of_i8, data),
            Samples::U16(n) => scaled(&n, channels, pick, (full, options), of_u16, data),
            Samples::I16(n) => {
                scaled(&n, channels, pick, (full, options), |v| of_u16(v.wrapping_sub(i16::MIN) as u16), data)
            }
            Samples::U32(n) => scaled(&n, channels, pick, (full, options), of_u32, data),
            Samples::I32(n) => {
                scaled(&n, channels, pick, (full, options), |v| of_u32(v.wrapping_sub(i32::MIN) as u32), data)
            }
            Samples::F32(n) => {
                told(full, options)?;
                scaled(&n, channels, pick, (full, options), |_| 0, data)
            }
            Samples::F64(n) => {
                told(full, options)?;
                scaled(&n, channels, pick, (full, options), |_| 0, data)
            }
        }
        Ok(())
    }
}

/// Floats hold anything: nothing but a range says what of it is black and white.
fn told(full: Option<[f64; 2]>, options: &Options) -> Result<()> {
    if full.is_none() && options.range.is_none() {
        bail!(
            "its numbers are floats: data.range says which of them are black and white, as in data.range = [0.0, 1.0], or \
             \"minmax\" for the least and the largest of each picture"
        )
    }
    Ok(())
}

fn of_i8(v: i8) -> u8 {
    v.wrapping_sub(i8::MIN) as u8
}

fn of_u16(v: u16) -> u8 {
    ((u32::from(v) + 128) / 257) as u8
}

fn of_u32(v: u32) -> u8 {
    const STEP: u64 = u32::MAX as u64 / 255;
    ((u64::from(v) + STEP / 2) / STEP) as u8
}

/// Bytes of numbers by the range that is asked for, else by what the file says is white, else by `whole`, their type's own.
/// What is beyond the range is black or white; so is what is no number, black.
fn scaled<T: Copy + Into<f64>>(
    numbers: &[T],
    channels: usize,
    pick: Pick,
    (full, options): (Option<[f64; 2]>, &Options),
    whole: impl Fn(T) -> u8 + Copy,
    data: &mut Vec<u8>,
) {
    let range = match options.range {
        Some(Range::Fixed(range)) => Some(range),
        Some(Range::Each(EachRange::MinMax)) => {
            let colours = match pick {
                Pick::All { alpha } => channels - usize::from(alpha),
                Pick::First(colours) => colours,
                Pick::Thrice => 1,
                Pick::Luma => 3,
            };
            Some(min_max(numbers, channels, colours))
        }
        None => full,
    };
    let of = |range: Option<[f64; 2]>| {
        // All is black where nothing lies between.
        let range = range.map(|[black, white]| (black, if white > black { white - black } else { f64::INFINITY }));
        move |v: T| match range {
            None => whole(v),
            Some((black, width)) => ((v.into() - black) * 255.0 / width).clamp(0.0, 255.0).round() as u8,
        }
    };
    convert(numbers, channels, pick, of(range), of(full), data);
}

/// The least and the largest of the first `colours` of each `channels` numbers; [0, 0] where there is none.
fn min_max<T: Copy + Into<f64>>(numbers: &[T], channels: usize, colours: usize) -> [f64; 2] {
    let all = numbers.chunks_exact(channels).flat_map(|pixel| &pixel[..colours]).map(|v| (*v).into());
    let wide = |[least, most]: [f64; 2], v: f64| [least.min(v), most.max(v)];
    let found = all.filter(|v: &f64| v.is_finite()).fold([f64::INFINITY, f64::NEG_INFINITY], wide);
    if found[0] <= found[1] { found } else { [0.0; 2] }
}

/// Bytes of numbers: `colour` gives them, of transparency `clear`.
fn convert<T: Copy>(
    numbers: &[T],
    channels: usize,
    pick: Pick,
    colour: impl Fn(T) -> u8 + Copy,
    clear: impl Fn(T) -> u8 + Copy,
    data: &mut Vec<u8>,
) {
    data.clear();
    let pixels = numbers.chunks_exact(channels);
    match pick {
        Pick::All { alpha: false } => data.extend(numbers.iter().map(|v| colour(*v))),
        Pick::All { alpha: true } => pixels.for_each(|pixel| {
            let (last, colours) = (pixel[channels - 1], &pixel[..channels - 1]);
            data.extend(colours.iter().map(|v| colour(*v)).chain([clear(last)]));
        }),
        Pick::First(1) => data.extend(pixels.map(|pixel| colour(pixel[0]))),
        Pick::First(3) => pixels.for_each(|p| data.extend_from_slice(&[colour(p[0]), colour(p[1]), colour(p[2])])),
        Pick::First(count) => pixels.for_each(|pixel| data.extend(pixel[..count].iter().map(|v| colour(*v)))),
        Pick::Thrice => pixels.for_each(|pixel| data.extend_from_slice(&[colour(pixel[0]); 3])),
        Pick::Luma => data.extend(pixels.map(|p| luma([colour(p[0]), colour(p[1]), colour(p[2])]))),
    }
}
