//! What a picture is decoded to: channels, range, orientation, and how much it may ask for.

use anyhow::{Result, ensure};
use simclr_core::config::{DataConfig, MAX_PIXELS, Range, Truncated};

/// How pictures are decoded, whatever their format. The default is what an experiment has that names none of the keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Height times width, at most: found from the header, before anything is decoded.
    pub max_pixels: u64,
    /// Which numbers of more than 8 bits become black and white; all that their type holds where it is missing.
    pub range: Option<Range>,
    /// Whether pictures are turned upright as their EXIF orientation says.
    pub orientation: bool,
    /// What becomes of a JPEG or PNG that breaks off.
    pub truncated: Truncated,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_pixels: MAX_PIXELS, range: None, orientation: false, truncated: Truncated::Corrupt }
    }
}

impl From<&DataConfig> for Options {
    fn from(config: &DataConfig) -> Self {
        Self {
            max_pixels: config.max_pixels,
            range: config.range,
            orientation: config.orientation,
            truncated: config.on_truncated,
        }
    }
}

impl Options {
    /// Checks what a header names.
    pub(super) fn check(&self, (height, width): (usize, usize)) -> Result<()> {
        let (pixels, most) = ((height as u64).saturating_mul(width as u64), self.max_pixels);
        ensure!(pixels > 0, "{height}x{width} pixels are none");
        ensure!(pixels <= most, "{height}x{width} are {pixels} pixels, data.max_pixels allows {most}");
        Ok(())
    }

    /// Whether what breaks off is kept.
    pub(super) fn keeps_truncated(&self) -> bool {
        self.truncated == Truncated::Keep
    }
}

/// What a decoder is asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Channels of the bytes that it gives.
    pub channels: usize,
    pub options: &'a Options,
}
