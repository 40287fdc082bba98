//! TensorBoard's files of a run: which numbers stand at which step.

use crate::layout;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How often each tag was written, by step, and the bits that were written last.
pub type Events = BTreeMap<(u64, String), (usize, u32)>;

/// Reads the events of a run, as a viewer does: a file that says that the run was started again at a step takes back what
/// earlier ones tell of it and of later ones.
///
/// # Errors
/// When a file cannot be read.
pub fn of(run: &Path) -> Result<Events> {
    let entries = std::fs::read_dir(run).with_context(|| format!("reading {}", run.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let is_ours =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(layout::EVENTS));
    let mut paths: Vec<PathBuf> = paths.filter(is_ours).collect();
    paths.sort();
    let mut found = Events::new();
    for path in paths {
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut rest = bytes.as_slice();
        while let Some((event, after)) = frame(rest) {
            add(event, &mut found).with_context(|| format!("{}: an event that is none", path.display()))?;
            rest = after;
        }
    }
    Ok(found)
}

/// What differs between the events of two runs; speeds do not count.
pub fn difference(a: &Events, b: &Events) -> Option<String> {
    let doubled = b.iter().find(|(_, (times, _))| *times > 1);
    if let Some(((step, tag), (times, _))) = doubled {
        return Some(format!("{tag} of step {step} stands there {times} times"));
    }
    let missing = a.keys().find(|key| !b.contains_key(key)).map(|(step, tag)| format!("no {tag} of step {step}"));
    let added =
        || b.keys().find(|key| !a.contains_key(key)).map(|(step, tag)| format!("{tag} of step {step} is too much"));
    let other = || {
        let mut both = a.iter().filter(|((_, tag), _)| !tag.ends_with("_per_s"));
        both.find_map(|(key, (_, bits))| {
            (b.get(key)?.1 != *bits).then(|| format!("{} of step {} differs", key.1, key.0))
        })
    };
    missing.or_else(added).or_else(other)
}

/// A frame: the length, four bytes of checksum, the data, four bytes of checksum. None where a crash cut it short.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?)).ok()?;
    let data = bytes.get(12..12usize.checked_add(length)?)?;
    Some((data, bytes.get(length + 16..)?))
}

/// Adds the scalars of an event.
fn add(event: &[u8], found: &mut Events) -> Option<()> {
    let (mut step, mut scalars, mut restarts) = (0, Vec::new(), false);
    for (field, value) in fields(event)? {
        match (field, value) {
            (2, Value::Number(number)) => step = number,
            (5, Value::Bytes(summary)) => {
                for (_, entry) in fields(summary)?.into_iter().filter(|(field, _)| *field == 1) {
                    let Value::Bytes(entry) = entry else { return None };
                    let (mut tag, mut bits) = (String::new(), 0);
                    for (field, value) in fields(entry)? {
                        match (field, value) {
                            (1, Value::Bytes(name)) => tag = String::from_utf8_lossy(name).into(),
                            (2, Value::Bits(value)) => bits = value,
                            _ => {}
                        }
                    }
                    scalars.push((tag, bits));
                }
            }
            (7, Value::Bytes(session)) => {
                restarts = fields(session)?.iter().any(|(field, value)| (*field, value) == (1, &Value::Number(1)));
            }
            _ => {}
        }
    }
    if restarts {
        found.retain(|(at, _), _| *at < step);
    }
    for (tag, bits) in scalars {
        let entry = found.entry((step, tag)).or_insert((0, 0));
        *entry = (entry.0 + 1, bits);
    }
    Some(())
}

#[derive(PartialEq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Bits(u32),
}

/// The fields of a message of protocol buffers.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => {
                bytes = bytes.get(8..)?;
                continue;
            }
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                let (data, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Value::Bytes(data)
            }
            5 => {
                let (bits, rest) = bytes.split_first_chunk::<4>()?;
                bytes = rest;
                Value::Bits(u32::from_le_bytes(*bits))
            }
            _ => return None,
        };
        found.push((tag >> 3, value));
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// An event of `step` with the scalar `loss`; another one says that the run was started again.
    fn event(step: u8, loss: Option<f32>) -> Vec<u8> {
        let mut event = vec![1 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0, 2 << 3, step];
        match loss {
            Some(loss) => {
                event.extend([5 << 3 | 2, 13, 1 << 3 | 2, 11, 1 << 3 | 2, 4]);
                event.extend(b"loss");
                event.push(2 << 3 | 5);
                event.extend(loss.to_le_bytes());
            }
            None => event.extend([7 << 3 | 2, 2, 1 << 3, 1]),
        }
        event
    }

    fn read(events: &[Vec<u8>]) -> Events {
        let mut found = Events::new();
        events.iter().for_each(|event| add(event, &mut found).unwrap());
        found
    }

    #[test]
    fn steps_count_once_unless_the_file_takes_them_back() {
        let whole = read(&[event(1, Some(0.5)), event(2, Some(0.25))]);
        assert_eq!(whole[&(2, "loss".into())], (1, 0.25f32.to_bits()));
        let again = read(&[event(1, Some(0.5)), event(2, Some(0.125)), event(2, None), event(2, Some(0.25))]);
        assert_eq!(difference(&whole, &again), None);
        let doubled = read(&[event(1, Some(0.5)), event(2, Some(0.25)), event(2, Some(0.25))]);
        assert_eq!(difference(&whole, &doubled).unwrap(), "loss of step 2 stands there 2 times");
        assert_eq!(difference(&whole, &read(&[event(1, Some(0.5))])).unwrap(), "no loss of step 2");
        let other = read(&[event(1, Some(0.5)), event(2, Some(0.5))]);
        assert_eq!(difference(&whole, &other).unwrap(), "loss of step 2 differs");
    }

    #[test]
    fn a_frame_that_was_cut_short_ends_a_file() {
        let data = [&5u64.to_le_bytes()[..], &[0; 4], b"abcde", &[0; 4]].concat();
        assert_eq!(frame(&data), Some((&b"abcde"[..], &b""[..])));
        assert!(frame(&data[..data.len() - 1]).is_none());
    }
}
