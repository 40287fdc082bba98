//! TensorBoard event files, scalars only: TFRecord frames around hand-written protocol buffers.

use super::layout::EVENTS;
use crate::disk;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of a frame beside its data: length and two checksums.
const FRAME: u64 = 16;

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
            .map(|n| dir.join(format!("{EVENTS}.{seconds:010}.{}.{n}", std::process::id())))
            .find(|path| !path.exists())
            .context("no free name")?;
        let file = File::options()
            .append(true)
            .create_new(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
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

    /// Waits until the disk has all events.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Says that training goes on after `step` steps, and drops what the run's earlier files tell of later ones. A viewer that
    /// has read those already drops them, too.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn restart(&mut self, step: u64) -> Result<()> {
        let dir = self.path.parent().context("a file needs a folder")?;
        for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path == self.path || !is_ours(name) {
                continue;
            }
            shorten(&path, step).with_context(|| format!("cannot shorten {}", path.display()))?;
        }
        // Event.session_log = 7, SessionLog.status = 1, START = 1.
        self.event(Some(step + 1), &field_bytes(7, &[1 << 3, 1]))
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
        disk::add_to(&self.path, &mut self.file, &frame(&event))
    }
}

/// Whether an [`EventWriter`] gave a file this name: other programs put the machine's name into theirs.
fn is_ours(name: &str) -> bool {
    let parts = name.strip_prefix(EVENTS).and_then(|rest| rest.strip_prefix('.'));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.is_some_and(|parts| parts.split('.').count() == 3 && parts.split('.').all(is_number))
}

/// Cuts off the frames of steps past `step`, which come last, and one that a crash cut short. What remains is not touched, however
/// long it is.
fn shorten(path: &Path, step: u64) -> std::io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let (length, mut kept) = (file.metadata()?.len(), 0);
    let mut frames = BufReader::new(&file);
    while let Some(data) = next_frame(&mut frames, length - kept)? {
        if step_of(&data).is_some_and(|own| own > step) {
            break;
        }
        kept += data.len() as u64 + FRAME;
    }
    if kept < length { file.set_len(kept) } else { Ok(()) }
}

/// The data of the next frame, where it is whole; at most `left` bytes are left.
fn next_frame(file: &mut impl Read, left: u64) -> std::io::Result<Option<Vec<u8>>> {
    if left < FRAME {
        return Ok(None);
    }
    let (mut length, mut sum) = ([0; 8], [0; 4]);
    file.read_exact(&mut length)?;
    file.read_exact(&mut sum)?;
    let size = u64::from_le_bytes(length);
    if sum != masked(&length) || size > left - FRAME {
        return Ok(None);
    }
    let mut data = vec![0; size as usize];
    file.read_exact(&mut data)?;
    file.read_exact(&mut sum)?;
    Ok((sum == masked(&data)).then_some(data))
}

/// The step of an event that [`EventWriter::event`] wrote; `None` where it tells of none.
fn step_of(event: &[u8]) -> Option<u64> {
    // The wall time stands first: a tag and eight bytes.
    let (tag, number) = event.get(9..)?.split_first()?;
    if *tag != 2 << 3 {
        return None;
    }
    let mut step = 0;
    for (i, byte) in number.iter().take(10).enumerate() {
        step |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(step);
        }
    }
    None
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

    /// Steps of all scalars in the folder, file by file in TensorBoard's order.
    fn steps(dir: &Path) -> Vec<u64> {
        let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        let mut steps = Vec::new();
        for file in files {
            let bytes = std::fs::read(file).unwrap();
            let mut rest = &bytes[..];
            loop {
                let left = rest.len() as u64;
                let Some(data) = next_frame(&mut rest, left).unwrap() else { break };
                if data.windows(4).any(|w| w == b"loss") {
                    steps.extend(step_of(&data));
                }
            }
            assert!(rest.is_empty(), "{} bytes belong to no frame", rest.len());
        }
        steps
    }

    #[test]
    fn a_restart_drops_what_comes_later_and_what_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let write = |steps: std::ops::RangeInclusive<u64>| {
            let mut writer = EventWriter::create(dir.path()).unwrap();
            // 127, 128 and 16384 are where a varint grows.
            steps.for_each(|step| writer.scalars(step, &[("loss", step as f64)]).unwrap());
            writer
        };
        let first = write(120..=135);
        let others = dir.path().join(format!("{EVENTS}.1700000000.host.12.0"));
        std::fs::write(&others, b"somebody else's").unwrap();
        let bytes = std::fs::read(first.path()).unwrap();
        // A crash within the last frame.
        std::fs::write(first.path(), &bytes[..bytes.len() - 3]).unwrap();
        let mut second = EventWriter::create(dir.path()).unwrap();
        second.restart(130).unwrap();
        (131..=134).for_each(|step| second.scalars(step, &[("loss", 0.0)]).unwrap());
        let mut third = EventWriter::create(dir.path()).unwrap();
        third.restart(128).unwrap();
        (129..=131).for_each(|step| third.scalars(step, &[("loss", 0.0)]).unwrap());
        assert_eq!(std::fs::read(&others).unwrap(), b"somebody else's");
        std::fs::remove_file(&others).unwrap();
        let mut seen = steps(dir.path());
        seen.sort();
        assert_eq!(seen, (120..=131).collect::<Vec<_>>());
        for step in [0, 1, 127, 128, 16384, u64::MAX] {
            let event = [&[1 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0, 2 << 3][..], &{
                let mut number = Vec::new();
                varint(step, &mut number);
                number
            }]
            .concat();
            assert_eq!(step_of(&event), Some(step));
        }
        // No bytes make it panic, and a length of any size is a frame that is not whole.
        for start in 0..bytes.len().min(200) {
            next_frame(&mut &bytes[start..], (bytes.len() - start) as u64).unwrap();
        }
        assert!(next_frame(&mut &[0xff; 40][..], 40).unwrap().is_none());
    }

    #[test]
    fn masked_checksum() {
        // CRC-32C of "123456789" is E3069283.
        let crc = 0xE306_9283u32;
        let want = (crc / (1 << 15) + crc % (1 << 15) * (1 << 17)).wrapping_add(0xa282_ead8);
        assert_eq!(masked(b"123456789"), want.to_le_bytes());
    }
}
