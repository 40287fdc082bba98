//! TensorBoard event files, scalars only: TFRecord frames around hand-written protocol buffers.

use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An `events.out.tfevents.*` file that is being written.
pub struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// Starts a new file in `dir`; earlier ones stay, TensorBoard reads them in order.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(dir: &Path) -> Result<Self> {
        let seconds = now() as u64;
        // Two runs of one second get two names.
        let path = (0..)
            .map(|n| dir.join(format!("events.out.tfevents.{seconds:010}.{}.{n}", std::process::id())))
            .find(|path| !path.exists())
            .context("no free name")?;
        let file = File::create_new(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut writer = Self { file, path };
        let version = field_bytes(3, b"brain.Event:2");
        writer.event(None, &version)?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the scalars of one step.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            // Summary.Value: tag = 1, simple_value = 2 (float).
            let mut entry = field_bytes(1, tag.as_bytes());
            entry.push(2 << 3 | 5);
            entry.extend((*value as f32).to_le_bytes());
            summary.extend(field_bytes(1, &entry));
        }
        self.event(Some(step), &field_bytes(5, &summary))
    }

    /// Event: wall_time = 1 (double), step = 2 (varint), then `what`.
    fn event(&mut self, step: Option<u64>, what: &[u8]) -> Result<()> {
        let mut event = vec![1 << 3 | 1];
        event.extend(now().to_le_bytes());
        if let Some(step) = step {
            event.push(2 << 3);
            varint(step, &mut event);
        }
        event.extend(what);
        self.file.write_all(&frame(&event)).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// A TFRecord: length, its checksum, the data, their checksum.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), data, &masked(data)].concat()
}

/// CRC-32C, rotated and shifted so that a checksum of data that holds checksums stays good.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn field_bytes(field: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    varint(bytes.len() as u64, &mut out);
    out.extend(bytes);
    out
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_hold_their_lengths_and_checksums() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path()).unwrap();
        writer.scalars(300, &[("loss", 0.5)]).unwrap();
        let bytes = std::fs::read(&writer.path).unwrap();
        let mut records = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (length, tail) = rest.split_at(8);
            let n = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            assert_eq!(tail[..4], masked(length));
            assert_eq!(tail[4 + n..8 + n], masked(&tail[4..4 + n]));
            records.push(&tail[4..4 + n]);
            rest = &tail[8 + n..];
        }
        assert!(records[0].ends_with(b"brain.Event:2"));
        // step 300 = varint AC 02, then Summary{Value{tag "loss", 0.5}}.
        let tail = b"\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\x00\x00\x00\x3f";
        assert_eq!(&records[1][9..], tail);
        assert!(EventWriter::create(dir.path()).is_ok(), "a second file in the same second");
    }

    #[test]
    fn masked_checksum() {
        // CRC-32C of "123456789" is E3069283.
        let crc = 0xE306_9283u32;
        let want = (crc / (1 << 15) + crc % (1 << 15) * (1 << 17)).wrapping_add(0xa282_ead8);
        assert_eq!(masked(b"123456789"), want.to_le_bytes());
    }
}
