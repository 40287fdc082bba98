//! What the headers of a JPEG say that its decoders do not tell before they decode.

/// The frame of a JPEG: how its samples are coded, and how finely each component is sampled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// The marker's second byte: 0xc0 to 0xcf.
    pub process: u8,
    /// Bits of a sample.
    pub precision: u8,
    /// Samples across and down of each component, in a group of blocks.
    pub sampling: Vec<(u8, u8)>,
    /// Where the coded data begin.
    scan: usize,
}

impl Frame {
    /// The first frame's, where the segments before the first scan are whole.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (mut at, mut frame) = (2, None);
        loop {
            match bytes.get(at..at + 2)? {
                [0xff, 0xff] => at += 1,
                [0xff, 0xda] => return frame.map(|frame| Self { scan: at, ..frame }),
                [0xff, 0x01 | 0xd0..=0xd7] => at += 2,
                [0xff, marker] => {
                    let &[high, low] = bytes.get(at + 2..at + 4)? else { return None };
                    let length = usize::from(u16::from_be_bytes([high, low])).max(2);
                    if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) && frame.is_none() {
                        frame = Self::parse(*marker, bytes.get(at + 4..at + 2 + length)?);
                    }
                    at += 2 + length;
                }
                // Stray bytes between segments, which decoders pass over.
                _ => at += 1,
            }
        }
    }

    fn parse(process: u8, body: &[u8]) -> Option<Self> {
        let components = body.get(6..)?.chunks_exact(3).take(usize::from(body[5]));
        let sampling = components.map(|component| (component[1] >> 4, component[1] & 15)).collect();
        Some(Self { process, precision: body[0], sampling, scan: 0 })
    }

    /// Whether the end marker follows the first scan. Before it another picture may stand, in the EXIF data; within it the
    /// marker cannot come by chance.
    pub fn has_end(&self, bytes: &[u8]) -> bool {
        bytes[self.scan..].windows(2).rev().any(|pair| pair == [0xff, 0xd9])
    }

    /// Where the last segment begins that stands after the first scan's header, be it whole or not.
    pub fn last_segment(&self, bytes: &[u8]) -> Option<usize> {
        let begins = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff | 0xd0..=0xd7);
        let found = bytes[self.scan + 2..].windows(2).rposition(begins)?;
        Some(self.scan + 2 + found)
    }

    /// Whether its entropy is coded by arithmetic.
    pub fn is_arithmetic(&self) -> bool {
        matches!(self.process, 0xc9..=0xcb | 0xcd..=0xcf)
    }

    /// Whether it is predicted sample by sample instead of transformed.
    pub fn is_lossless(&self) -> bool {
        self.process == 0xc3
    }

    /// Whether, across, the first component is sampled as finely as any, and all of them by a power of two: what the usual
    /// decoder reads. Of others it makes noise, or nothing.
    pub fn has_usual_sampling(&self) -> bool {
        let most = self.sampling.iter().map(|(across, _)| *across).max().unwrap_or(0);
        self.sampling.first().is_none_or(|(across, _)| *across == most)
            && self.sampling.iter().all(|(across, _)| matches!(across, 1 | 2 | 4))
    }
}
