//! The index of a checkpoint: an SSTable as LevelDB writes it, a sorted table of keys and values in checked blocks.
//!
//! ```text
//! block*  : entries, restart offsets (u32 each), their count (u32) | compression (u8) | masked CRC-32C (u32)
//! entry   : shared, unshared, value length (varints) | the key's unshared bytes | value
//! footer  : handles (offset, size) of the metaindex and of the index block, zeros up to 40 bytes | magic (u64)
//! ```
//! The index block's values are the handles of the data blocks.

use super::wire::{fixed32, take, varint};
use anyhow::{Context, Result, bail, ensure};
use simclr_core::disk;
use std::path::Path;

const FOOTER: usize = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Compression and checksum after each block.
const TRAILER: usize = 5;
/// Most bytes of a file that is read as an index: the largest published one has under a megabyte.
const LARGEST_INDEX: u64 = 256 << 20;
/// Most bytes of keys, unpacked: sharing prefixes, a small hostile file could stand for terabytes.
const MOST_KEY_BYTES: usize = 256 << 20;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// All rows of the table in the file `path`, in the order of their keys.
///
/// # Errors
/// When the file cannot be read, is cut, damaged, compressed or no table: the message says which.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let inner = || -> Result<Vec<Row>> { parse(&disk::read_small(path, LARGEST_INDEX)?) };
    inner().with_context(|| format!("the index {} cannot be read", path.display()))
}

/// As [`read`], from bytes.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &[u8]) -> Result<Vec<Row>> {
    let Some((body, mut footer)) = file.len().checked_sub(FOOTER).and_then(|at| file.split_at_checked(at)) else {
        bail!("it has {} bytes, a table has at least {FOOTER}: copy it again", file.len())
    };
    let magic = footer.last_chunk::<8>().map(|b| u64::from_le_bytes(*b)).unwrap_or_default();
    ensure!(
        magic == MAGIC,
        "it ends in {magic:#018x}, a table in {MAGIC:#018x}: it is cut, or no index of a TensorFlow checkpoint; \
         copy it again"
    );
    let mut handle = || -> Option<(u64, u64)> { Some((varint(&mut footer)?, varint(&mut footer)?)) };
    let (_metaindex, index) = (handle(), handle());
    let index = block(body, index.context("its footer is damaged: copy it again")?).context("the block of blocks")?;
    let (mut rows, mut key_bytes): (Vec<Row>, usize) = (Vec::new(), 0);
    for (_, value) in entries(index, &mut 0)? {
        let mut value = value.as_slice();
        let at =
            varint(&mut value).zip(varint(&mut value)).context("a block's place is damaged: copy the file again")?;
        for row in entries(block(body, at)?, &mut key_bytes)? {
            ensure!(
                rows.last().is_none_or(|before| before.0 < row.0),
                "its keys are out of order at {:?}: copy it again",
                String::from_utf8_lossy(&row.0)
            );
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The checked content of the block at `(offset, size)`.
fn block(body: &[u8], (offset, size): (u64, u64)) -> Result<&[u8]> {
    let mut rest = usize::try_from(offset).ok().and_then(|at| body.get(at..)).unwrap_or_default();
    let checked = size.checked_add(TRAILER as u64).and_then(|n| take(&mut rest, n)).with_context(|| {
        format!("a block of {size} bytes at {offset} does not fit into the file's {}: copy it again", body.len())
    })?;
    let (content, mut stored) = checked.split_at(checked.len() - 4);
    let (stored, actual) = (fixed32(&mut stored).unwrap_or_default(), masked(crc32c::crc32c(content)));
    ensure!(
        stored == actual,
        "the block at {offset} is damaged (checksum {actual:#010x}, expected {stored:#010x}): copy the file again"
    );
    match content.split_last() {
        Some((0, data)) => Ok(data),
        Some((1, _)) => bail!(
            "the block at {offset} is compressed with snappy; TensorFlow writes checkpoints uncompressed: save it with \
             tf.train.Saver or tf.train.Checkpoint"
        ),
        _ => bail!("the block at {offset} has an unknown compression"),
    }
}

/// Keys and values of a block; `key_bytes` counts those unpacked so far.
fn entries(block: &[u8], key_bytes: &mut usize) -> Result<Vec<Row>> {
    let damaged = "a block's entries are damaged: copy the file again";
    let restarts = block.last_chunk::<4>().map(|b| u32::from_le_bytes(*b)).context(damaged)? as usize;
    let end = restarts.checked_mul(4).and_then(|n| (block.len() - 4).checked_sub(n)).context(damaged)?;
    let (mut data, mut key, mut rows) = (&block[..end], Vec::new(), Vec::new());
    while !data.is_empty() {
        let mut number = || varint(&mut data).context(damaged);
        let (shared, unshared, length) = (number()?, number()?, number()?);
        ensure!(shared <= key.len() as u64, damaged);
        key.truncate(shared as usize);
        key.extend_from_slice(take(&mut data, unshared).context(damaged)?);
        *key_bytes += key.len();
        ensure!(*key_bytes <= MOST_KEY_BYTES, "its keys are over {MOST_KEY_BYTES} bytes long, together");
        rows.push((key.clone(), take(&mut data, length).context(damaged)?.to_vec()));
    }
    Ok(rows)
}

/// A CRC-32C as tables and checkpoints store it: rotated and moved, so that checksums of checksums stay useful.
pub fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sealed(mut data: Vec<u8>, compression: u8) -> Vec<u8> {
        data.push(compression);
        let crc = masked(crc32c::crc32c(&data));
        data.extend(crc.to_le_bytes());
        data
    }

    /// A table of one data block.
    fn table(entries: &[u8], compression: u8) -> Vec<u8> {
        let data = [entries, &0u32.to_le_bytes()].concat();
        let size = data.len() as u8;
        let mut file = sealed(data, compression);
        let (at, index) = (file.len() as u8, [&[0, 1, 2, b'z', 0, size][..], &0u32.to_le_bytes()].concat());
        let mut footer = vec![0, 0, at, index.len() as u8];
        file.extend(sealed(index, 0));
        footer.resize(40, 0);
        file.extend(footer);
        file.extend(MAGIC.to_le_bytes());
        file
    }

    fn message(file: &[u8]) -> String {
        format!("{:#}", parse(file).unwrap_err())
    }

    const ENTRIES: [u8; 12] = [0, 2, 1, b'a', b'b', 7, 1, 1, 2, b'c', 8, 9];

    #[test]
    fn keys_share_their_beginning() {
        let rows = parse(&table(&ENTRIES, 0)).unwrap();
        assert_eq!(rows, [(b"ab".to_vec(), vec![7]), (b"ac".to_vec(), vec![8, 9])]);
    }

    #[test]
    fn damage_is_told() {
        let whole = table(&ENTRIES, 0);
        for cut in 0..whole.len() {
            assert!(message(&whole[..cut]).contains("copy it again"), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            // Zeros that fill the footer, and the place of the unused metaindex, are all that may differ.
            let footer = whole.len() - FOOTER;
            assert!(parse(&flipped).is_err() || (footer..footer + 40).contains(&at), "flipped at {at}");
        }
        assert!(message(&table(&ENTRIES, 1)).contains("snappy"));
        assert!(message(&table(&ENTRIES, 9)).contains("unknown compression"));
        // Shares more than there is; longer than the block; keys that go down.
        for entries in [vec![3, 0, 0], vec![0, 0xff, 0xff, 3, 0], vec![0, 1, 0, b'b', 0, 1, 0, b'a']] {
            let text = message(&table(&entries, 0));
            assert!(text.contains("damaged") || text.contains("out of order"), "{text}");
        }
    }
}
