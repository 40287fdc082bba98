//! Arrays of NumPy: `.npy` files of one picture.

use super::format::{Decoded, Format};
use super::options::Wanted;
use super::raster::{Pick, Raster, Samples};
use anyhow::{Context, Result, bail, ensure};
use half::f16;
use simclr_core::config::MAX_CHANNELS;

pub(super) static FORMAT: Format =
    Format { name: "NumPy", endings: &["npy"], is: |bytes| bytes.starts_with(MAGIC), size, decode };

const MAGIC: &[u8] = b"\x93NUMPY";

/// An array's header.
#[derive(Debug, PartialEq)]
struct Header<'a> {
    /// Byte order and type, as in `<u2`.
    descr: &'a str,
    /// Whether the first axis is the fastest.
    fortran: bool,
    shape: Vec<usize>,
    /// Where the numbers begin.
    start: usize,
}

impl<'a> Header<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self> {
        let short = "its header is cut short";
        let (at, length) = match bytes.get(MAGIC.len()).context(short)? {
            1 => (10, usize::from(u16::from_le_bytes(*bytes.get(8..10).and_then(|b| b.first_chunk()).context(short)?))),
            2 | 3 => (12, u32::from_le_bytes(*bytes.get(8..12).and_then(|b| b.first_chunk()).context(short)?) as usize),
            other => bail!("its header is of version {other}"),
        };
        let start = at + length;
        let text = std::str::from_utf8(bytes.get(at..start).context(short)?).context("its header is no text")?;
        let after = |key: &str| {
            let quoted = [format!("'{key}'"), format!("\"{key}\"")];
            let rest = quoted.iter().find_map(|key| text.split_once(key.as_str())).map(|(_, rest)| rest.trim_start());
            rest.and_then(|rest| rest.strip_prefix(':')).map(str::trim_start)
        };
        let value = |key: &str| after(key).with_context(|| format!("its header has no {key}"));
        let (descr, order, shape) = (value("descr")?, value("fortran_order")?, value("shape")?);
        let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let descr = quote.and_then(|quote| descr[1..].split_once(quote)).map(|(descr, _)| descr);
        let shape = shape.strip_prefix('(').and_then(|rest| rest.split_once(')')).context("its shape is no tuple")?.0;
        let sides = shape.split(',').map(str::trim).filter(|side| !side.is_empty());
        Ok(Self {
            descr: descr.context("its numbers are records, which are no picture")?,
            fortran: order.starts_with("True"),
            shape: sides
                .map(|side| side.parse().with_context(|| format!("a side is {side}")))
                .collect::<Result<_>>()?,
            start,
        })
    }
}

/// How an array is a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Layout {
    height: usize,
    width: usize,
    channels: usize,
    /// Steps, in numbers, from row to row, column to column, channel to channel.
    steps: [usize; 3],
}

/// `[H, W]`, `[H, W, C]` or `[C, H, W]`: the channels are the axis that has as many as are asked for, else the one that is
/// short enough to be of channels.
///
/// # Errors
/// When it has other axes, or either of two could be the channels.
fn layout(header: &Header<'_>, asked: Option<usize>) -> Result<Layout> {
    let shape = &header.shape;
    let last_axis = match shape.as_slice() {
        [_, _] => None,
        &[first, _, last] => Some(channels_last(first, last, asked).with_context(|| {
            format!(
                "{shape:?} could be [H, W, C] as well as [C, H, W]{}: name the axes by their lengths, or save it as [H, W, C] \
                 with C = data.channels",
                asked.map_or(String::new(), |n| format!(" with data.channels = {n}"))
            )
        })?),
        other => bail!("an array of {} axes, {other:?}, is no picture: [H, W], [H, W, C] or [C, H, W] is", other.len()),
    };
    let mut steps = vec![1usize; shape.len()];
    let order: Vec<usize> = if header.fortran { (0..shape.len()).collect() } else { (0..shape.len()).rev().collect() };
    let mut step = 1usize;
    for axis in order {
        steps[axis] = step;
        step = step.checked_mul(shape[axis]).context("it is too large")?;
    }
    Ok(match last_axis {
        None => Layout { height: shape[0], width: shape[1], channels: 1, steps: [steps[0], steps[1], 1] },
        Some(true) => {
            Layout { height: shape[0], width: shape[1], channels: shape[2], steps: [steps[0], steps[1], steps[2]] }
        }
        Some(false) => {
            Layout { height: shape[1], width: shape[2], channels: shape[0], steps: [steps[1], steps[2], steps[0]] }
        }
    })
}

/// Whether the last axis is that of the channels, of the first and the last; `None` where nothing tells.
fn channels_last(first: usize, last: usize, asked: Option<usize>) -> Option<bool> {
    let one = |fits: &dyn Fn(usize) -> bool| match (fits(first), fits(last)) {
        (true, false) => Some(false),
        (false, true) => Some(true),
        _ => None,
    };
    let exact = one(&|n| Some(n) == asked);
    // Gray becomes colour, and colour gray.
    let alike = || one(&|n| asked.is_some_and(|asked| [n, asked].iter().all(|n| matches!(n, 1 | 3))));
    exact.or_else(|| if first == last { None } else { alike().or_else(|| one(&|n| (1..=MAX_CHANNELS).contains(&n))) })
}

fn size(bytes: &[u8]) -> Result<(usize, usize)> {
    let layout = layout(&Header::of(bytes)?, None)?;
    Ok((layout.height, layout.width))
}

fn decode(bytes: &[u8], wanted: &Wanted<'_>, data: &mut Vec<u8>) -> Result<Decoded> {
    let header = Header::of(bytes)?;
    let layout = layout(&header, Some(wanted.channels))?;
    let (size, channels) = ((layout.height, layout.width), layout.channels);
    wanted.options.check(size)?;
    ensure!((1..=MAX_CHANNELS).contains(&channels), "it has {channels} channels, and 1 to {MAX_CHANNELS} are possible");
    Pick::of(channels, false, wanted.channels)?;
    let (order, kind) = header.descr.split_at_checked(1).context("its type is missing")?;
    let numbers = Numbers { bytes: &bytes[header.start..], layout, big: order == ">" };
    ensure!(matches!(order, "<" | ">" | "|" | "="), "its order of bytes is {order}");
    let samples = match kind {
        "u1" => Samples::U8(numbers.read(|[byte]| byte)?),
        "i1" => Samples::I8(numbers.read(i8::from_le_bytes)?),
        "u2" => Samples::U16(numbers.read(u16::from_le_bytes)?),
        "i2" => Samples::I16(numbers.read(i16::from_le_bytes)?),
        "u4" => Samples::U32(numbers.read(u32::from_le_bytes)?),
        "i4" => Samples::I32(numbers.read(i32::from_le_bytes)?),
        "f2" => Samples::F32(numbers.read(|bytes| f16::from_le_bytes(bytes).to_f32())?),
        "f4" => Samples::F32(numbers.read(f32::from_le_bytes)?),
        "f8" => Samples::F64(numbers.read(f64::from_le_bytes)?),
        "b1" => Samples::U8(numbers.read(|[byte]: [u8; 1]| if byte == 0 { 0 } else { 255 })?),
        other => bail!("its numbers are of type {other}; u1, u2, u4, i1, i2, i4, f2, f4, f8 and b1 are possible"),
    };
    Raster { channels, alpha: false, full: None, samples }.write(wanted, data)?;
    Ok(Decoded::upright(size))
}

/// The numbers of an array as they are stored.
struct Numbers<'a> {
    bytes: &'a [u8],
    layout: Layout,
    /// Whether the highest byte comes first.
    big: bool,
}

impl Numbers<'_> {
    /// All of them, `[H, W, C]`; `number` takes bytes of which the lowest comes first.
    fn read<const N: usize, T>(&self, number: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let Layout { height, width, channels, steps: [down, across, deep] } = self.layout;
        let (stored, count) = (self.bytes.as_chunks::<N>().0, height * width * channels);
        ensure!(
            stored.len() >= count,
            "it breaks off: {count} numbers of {N} bytes are more than {}",
            self.bytes.len()
        );
        let mut numbers = Vec::with_capacity(count);
        for y in 0..height {
            for x in 0..width {
                for c in 0..channels {
                    let mut bytes = stored[y * down + x * across + c * deep];
                    if self.big {
                        bytes.reverse();
                    }
                    numbers.push(number(bytes));
                }
            }
        }
        Ok(numbers)
    }
}
