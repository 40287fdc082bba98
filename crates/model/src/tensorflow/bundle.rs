//! A checkpoint as TensorFlow stores it: an index of tensors, and shards that hold their bytes.

use super::table::{self, masked};
use super::wire::{Field, fields, fixed32, take, varint};
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device, Tensor};
use simclr_core::disk;
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const STRING: u64 = 7;

/// Where a tensor lies, and what it is.
#[derive(Clone, Debug, Default)]
struct Entry {
    dtype: u64,
    shape: Vec<usize>,
    shard: u64,
    offset: u64,
    size: u64,
    crc: u32,
    sliced: bool,
}

/// An opened checkpoint; tensors are read one by one.
pub struct Bundle {
    prefix: PathBuf,
    shards: u64,
    entries: BTreeMap<String, Entry>,
}

impl Bundle {
    /// Opens the checkpoint whose files are called `PREFIX.index` and `PREFIX.data-00000-of-00001`, ... Every tensor's
    /// place is checked against the lengths of the files.
    ///
    /// # Errors
    /// When files are missing, cut or damaged: the message names the file, or the tensor.
    pub fn open(prefix: &Path) -> Result<Self> {
        let index = with_suffix(prefix, ".index");
        let (mut header, mut entries) = (None, BTreeMap::new());
        for (key, value) in table::read(&index)? {
            // The empty key comes first, and stands for the whole.
            if key.is_empty() {
                header = Some(value);
                continue;
            }
            let key = String::from_utf8(key).with_context(|| format!("a key of {} is not UTF-8", index.display()))?;
            let entry = Entry::parse(&value).with_context(|| format!("{}, entry {key}", index.display()))?;
            entries.insert(key, entry);
        }
        let header =
            header.with_context(|| format!("{} has no header: it is no checkpoint's index", index.display()))?;
        let shards = shards(&header).with_context(|| format!("the header of {}", index.display()))?;
        let bundle = Self { prefix: prefix.into(), shards, entries };
        bundle.check_places()?;
        Ok(bundle)
    }

    /// Every tensor lies within its shard and is as long as its shape says: no later step trusts a length unchecked.
    fn check_places(&self) -> Result<()> {
        let (mut lengths, mut used) = (BTreeMap::new(), BTreeMap::<u64, u64>::new());
        for (key, entry) in &self.entries {
            let path = self.shard(entry.shard);
            ensure!(
                entry.shard < self.shards,
                "{key} lies in shard {}, but the index names {} shards: the index is damaged",
                entry.shard,
                self.shards
            );
            let length = match lengths.get(&entry.shard) {
                Some(length) => *length,
                None => {
                    let found = std::fs::metadata(&path).with_context(|| {
                        format!(
                            "the shard {} is missing ({} of {}): all shards stand beside the index",
                            path.display(),
                            entry.shard + 1,
                            self.shards
                        )
                    })?;
                    ensure!(found.is_file(), "the shard {} is no regular file", path.display());
                    lengths.insert(entry.shard, found.len());
                    found.len()
                }
            };
            let end = entry.offset.checked_add(entry.size);
            ensure!(
                end.is_some_and(|end| end <= length),
                "{} has {length} bytes; {key} is {} bytes at {}: the shard is cut, copy it again",
                path.display(),
                entry.size,
                entry.offset
            );
            let used = used.entry(entry.shard).or_default();
            *used = used.saturating_add(entry.size);
            ensure!(
                *used <= length,
                "{}: {key} and the tensors before it have {used} bytes, and the file {length}: they overlap, the index is damaged",
                path.display()
            );
            if let Some(width) = element_size(entry.dtype).filter(|_| !entry.sliced) {
                let expected = entry.shape.iter().try_fold(width, |n, &d| n.checked_mul(d as u64));
                ensure!(
                    expected == Some(entry.size),
                    "{key} has shape {:?} and {} bytes, which do not agree: the index is damaged",
                    entry.shape,
                    entry.size
                );
            }
        }
        Ok(())
    }

    /// Names of all tensors, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    fn entry(&self, key: &str) -> Result<&Entry> {
        self.entries.get(key).with_context(|| format!("{} holds no tensor {key}", self.prefix.display()))
    }

    /// The shape of a tensor of floats, whose length was checked against it.
    ///
    /// # Errors
    /// When there is no such tensor, or it holds something else.
    pub fn shape_of_floats(&self, key: &str) -> Result<&[usize]> {
        let entry = self.entry(key)?;
        ensure!(!entry.sliced, "{key} is stored in slices (a partitioned variable), which is not supported");
        float_type(entry.dtype).with_context(|| key.to_string())?;
        Ok(&entry.shape)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn shard(&self, number: u64) -> PathBuf {
        with_suffix(&self.prefix, &format!(".data-{number:05}-of-{:05}", self.shards))
    }

    /// The bytes of a tensor as they are stored, unchecked yet.
    fn raw(&self, entry: &Entry) -> Result<(Vec<u8>, PathBuf)> {
        ensure!(!entry.sliced, "it is stored in slices (a partitioned variable), which is not supported");
        let path = self.shard(entry.shard);
        let (size, mut bytes) = (usize::try_from(entry.size)?, Vec::new());
        bytes.try_reserve_exact(size).with_context(|| format!("no memory for {size} bytes of {}", path.display()))?;
        bytes.resize(size, 0);
        let mut read = || -> Result<()> {
            let mut file = disk::open(&path)?;
            file.seek(SeekFrom::Start(entry.offset))?;
            Ok(file.read_exact(&mut bytes)?)
        };
        read().with_context(|| format!("cannot read {} bytes of {}", entry.size, path.display()))?;
        Ok((bytes, path))
    }

    fn verify(entry: &Entry, crc: u32, path: &Path) -> Result<()> {
        let actual = masked(crc);
        ensure!(
            actual == entry.crc,
            "its bytes in {} are damaged (checksum {actual:#010x}, expected {:#010x}): copy the file again",
            path.display(),
            entry.crc
        );
        Ok(())
    }

    fn numbers(&self, entry: &Entry) -> Result<Vec<u8>> {
        let (bytes, path) = self.raw(entry)?;
        Self::verify(entry, crc32c::crc32c(&bytes), &path)?;
        Ok(bytes)
    }

    /// A tensor of floats as f32, in its shape.
    ///
    /// # Errors
    /// When there is none, its bytes are damaged, or it is of another type.
    pub fn floats(&self, key: &str) -> Result<Tensor> {
        let entry = self.entry(key)?;
        let inner = || -> Result<Tensor> {
            let (dtype, bytes) = (float_type(entry.dtype)?, self.numbers(entry)?);
            Ok(Tensor::from_raw_buffer(&bytes, dtype, &entry.shape, &Device::Cpu)?.to_dtype(DType::F32)?)
        };
        inner().with_context(|| format!("reading the tensor {key}"))
    }

    /// A single whole number.
    ///
    /// # Errors
    /// When there is none, its bytes are damaged, or it is of another type or shape.
    pub fn integer(&self, key: &str) -> Result<i64> {
        let entry = self.entry(key)?;
        let inner = || -> Result<i64> {
            let bytes = self.numbers(entry)?;
            match (entry.dtype, bytes.first_chunk::<8>(), bytes.first_chunk::<4>()) {
                (9, Some(b), _) if bytes.len() == 8 => Ok(i64::from_le_bytes(*b)),
                (3, _, Some(b)) if bytes.len() == 4 => Ok(i32::from_le_bytes(*b).into()),
                _ => bail!("type {}, shape {:?}; expected one int64 or int32", entry.dtype, entry.shape),
            }
        };
        inner().with_context(|| format!("reading the tensor {key}"))
    }

    /// A single string: its length as a varint, a checksum of the length, its bytes.
    ///
    /// # Errors
    /// When there is none, its bytes are damaged, or it is of another type or shape.
    pub fn string(&self, key: &str) -> Result<Vec<u8>> {
        let entry = self.entry(key)?;
        let inner = || -> Result<Vec<u8>> {
            ensure!(
                entry.dtype == STRING && entry.shape.is_empty(),
                "type {}, shape {:?}; expected one string",
                entry.dtype,
                entry.shape
            );
            let (bytes, path) = self.raw(entry)?;
            let mut rest = bytes.as_slice();
            let damaged = || format!("its bytes in {} are damaged: copy the file again", path.display());
            let length = varint(&mut rest).with_context(damaged)?;
            // The checksum takes lengths as fixed integers: four bytes where they suffice.
            let crc = match u32::try_from(length) {
                Ok(short) => crc32c::crc32c(&short.to_le_bytes()),
                Err(_) => crc32c::crc32c(&length.to_le_bytes()),
            };
            let stored = fixed32(&mut rest).filter(|stored| *stored == masked(crc)).with_context(damaged)?;
            let content = take(&mut rest, length).filter(|_| rest.is_empty()).with_context(damaged)?;
            let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &stored.to_le_bytes()), content);
            Self::verify(entry, crc, &path)?;
            Ok(content.to_vec())
        };
        inner().with_context(|| format!("reading the tensor {key}"))
    }
}

fn float_type(dtype: u64) -> Result<DType> {
    match dtype {
        1 => Ok(DType::F32),
        2 => Ok(DType::F64),
        14 => Ok(DType::BF16),
        19 => Ok(DType::F16),
        other => bail!("it has TensorFlow's type {other}; expected float32, float64, bfloat16 or half"),
    }
}

/// Bytes of a number of this type; `None` for strings and types that no weight has.
fn element_size(dtype: u64) -> Option<u64> {
    match dtype {
        1 | 3 => Some(4),
        2 | 9 => Some(8),
        14 | 19 => Some(2),
        _ => None,
    }
}

/// Number of shards, from the header (`BundleHeaderProto`).
fn shards(header: &[u8]) -> Result<u64> {
    let mut shards = 0;
    for (number, field) in fields(header)? {
        match number {
            1 => shards = field.int()?,
            2 => {
                ensure!(field.int()? == 0, "the checkpoint was written on a big-endian machine, which is not supported")
            }
            _ => (),
        }
    }
    ensure!(shards > 0, "it names no shards");
    Ok(shards)
}

impl Entry {
    /// Reads a `BundleEntryProto`.
    fn parse(message: &[u8]) -> Result<Self> {
        let mut entry = Self::default();
        for (number, field) in fields(message)? {
            match (number, field) {
                (1, _) => entry.dtype = field.int()?,
                (2, _) => entry.shape = shape(field.bytes()?)?,
                (3, _) => entry.shard = field.int()?,
                (4, _) => entry.offset = field.int()?,
                (5, _) => entry.size = field.int()?,
                (6, Field::Fixed32(crc)) => entry.crc = crc,
                (7, _) => entry.sliced = true,
                _ => (),
            }
        }
        Ok(entry)
    }
}

/// Dimensions of a `TensorShapeProto`.
fn shape(message: &[u8]) -> Result<Vec<usize>> {
    let mut dims = Vec::new();
    for (number, field) in fields(message)? {
        if number == 2 {
            let mut size = 0;
            for (number, field) in fields(field.bytes()?)? {
                if number == 1 {
                    size = field.int()?;
                }
            }
            // Unknown dimensions are negative, and come as very large ones.
            let size = i64::try_from(size).ok().and_then(|n| usize::try_from(n).ok());
            dims.push(size.context("a dimension is negative")?);
        }
    }
    Ok(dims)
}

/// `prefix` with a suffix after its last component.
pub fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Otherwise a small file could stand for any number of tensors.
    #[test]
    fn tensors_that_overlap_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.data-00000-of-00001"), [0; 16]).unwrap();
        let entry = |offset| Entry { dtype: 1, shape: vec![2], offset, size: 8, ..Entry::default() };
        let open = |offsets: &[u64]| {
            let entries = offsets.iter().enumerate().map(|(i, at)| (format!("t{i}"), entry(*at))).collect();
            Bundle { prefix: dir.path().join("x"), shards: 1, entries }.check_places()
        };
        open(&[0, 8]).unwrap();
        let message = open(&[0, 8, 0]).unwrap_err().to_string();
        assert!(
            message.contains("t2 and the tensors before it have 24 bytes, and the file 16: they overlap"),
            "{message}"
        );
    }
}
