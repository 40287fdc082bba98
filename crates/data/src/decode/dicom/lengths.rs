//! Whether the lengths that a DICOM file names are those of its bytes: its reader would make room for whatever they say.

use anyhow::{Context, Result, bail, ensure};

/// What is written where a length is not known before the end.
const UNDEFINED: u32 = u32::MAX;
/// Where elements begin.
const START: usize = 132;
/// Types whose lengths have 32 bits.
const LONG: [&[u8; 2]; 13] =
    [b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"];
/// The other types, whose lengths have 16.
const SHORT: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
];
/// How many bytes follow of the group that says how the file is written.
const GROUP_LENGTH: (u16, u16) = (2, 0);
const SYNTAX: (u16, u16) = (2, 0x10);
const PIXELS: (u16, u16) = (0x7fe0, 0x10);
const ITEM: (u16, u16) = (0xfffe, 0xe000);
const END_OF_ITEM: (u16, u16) = (0xfffe, 0xe00d);
const END_OF_SEQUENCE: (u16, u16) = (0xfffe, 0xe0dd);

/// Walks over all elements, those of sequences as if they stood in none.
///
/// # Errors
/// When one is longer than what is left of the file, or the file is of a kind whose lengths cannot be told.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let short = "it breaks off within an element";
    let word = |at: usize| -> Result<u16> {
        Ok(u16::from_le_bytes(*bytes.get(at..).and_then(|b| b.first_chunk()).context(short)?))
    };
    let long = |at: usize| -> Result<u32> {
        Ok(u32::from_le_bytes(*bytes.get(at..).and_then(|b| b.first_chunk()).context(short)?))
    };
    let (mut at, mut typed, mut fragments, mut group_end) = (START, true, false, None);
    while at < bytes.len() {
        let tag = (word(at)?, word(at + 2)?);
        ensure!(
            at == START || (tag.0 == 2) == group_end.is_some_and(|end| at < end),
            "its first group has another length"
        );
        if matches!(tag, ITEM | END_OF_ITEM | END_OF_SEQUENCE) {
            let length = long(at + 4)?;
            at += 8;
            fragments &= tag != END_OF_SEQUENCE;
            if fragments && tag == ITEM {
                at = at.checked_add(length as usize).filter(|end| *end <= bytes.len()).context(short)?;
            } else if length != UNDEFINED {
                ensure!(length as usize <= bytes.len() - at, "{short}");
            }
            continue;
        }
        let explicit = typed || tag.0 == 2;
        let kind: Option<&[u8; 2]> = bytes.get(at + 4..).and_then(|b| b.first_chunk()).filter(|_| explicit);
        let (length, start) = match kind {
            Some(kind) if LONG.contains(&kind) => (long(at + 8)?, at + 12),
            Some(kind) => {
                ensure!(SHORT.contains(&kind), "an element has no known type");
                (u32::from(word(at + 6)?), at + 8)
            }
            None => (long(at + 4)?, at + 8),
        };
        at = start;
        if length == UNDEFINED {
            ensure!(kind != Some(b"UN"), "it holds a sequence of unknown type, which is not supported");
            fragments = tag == PIXELS;
            continue;
        }
        let value = bytes.get(start..start.saturating_add(length as usize)).context(short)?;
        if tag == GROUP_LENGTH && group_end.is_none() {
            let length: [u8; 4] = value.try_into().context("its first group has no length")?;
            group_end = Some(start + 4 + u32::from_le_bytes(length) as usize);
        }
        if tag == SYNTAX {
            match value.trim_ascii_end().strip_suffix(&[0]).unwrap_or(value) {
                b"1.2.840.10008.1.2" => typed = false,
                b"1.2.840.10008.1.2.2" | b"1.2.840.10008.1.2.1.99" => {
                    bail!("its bytes are deflated or the highest comes first, which is not supported: convert it")
                }
                _ => {}
            }
        }
        // Sequences are walked through.
        let nested = kind == Some(b"SQ") || (kind.is_none() && value.starts_with(&[0xfe, 0xff, 0, 0xe0]));
        at += if nested { 0 } else { length as usize };
    }
    Ok(())
}
