//! What a format of pictures is: an entry of the table.

use super::options::Wanted;
use anyhow::Result;
use image::metadata::Orientation;

/// A format: how its files are known, and how they are read. Readers may panic: whoever calls them guards.
pub(super) struct Format {
    /// For messages.
    pub name: &'static str,
    /// What its files' names end in, in lower case.
    pub endings: &'static [&'static str],
    /// Whether a file begins like one.
    pub is: fn(&[u8]) -> bool,
    /// Height and width as stored, from the header alone.
    pub size: fn(&[u8]) -> Result<(usize, usize)>,
    /// Writes the bytes, `[H, W, C]` as stored, over what the buffer held.
    pub decode: fn(&[u8], &Wanted<'_>, &mut Vec<u8>) -> Result<Decoded>,
}

/// What was decoded.
pub(super) struct Decoded {
    /// Height and width as stored.
    pub size: (usize, usize),
    /// How it is turned upright, as its EXIF data say; not looked for unless it is asked for.
    pub orientation: Orientation,
}

impl Decoded {
    /// As stored is as seen.
    pub fn upright(size: (usize, usize)) -> Self {
        Self { size, orientation: Orientation::NoTransforms }
    }
}
