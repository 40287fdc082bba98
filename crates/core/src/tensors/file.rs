//! Files of safetensors: tensors, text and the file's hash in one reading, which holds one tensor beside those that it gives.

use super::header::Header;
use crate::disk::{self, Hash};
use crate::fit::short;
use anyhow::{Context, Error, Result, ensure};
use candle_core::{Device, Tensor};
use safetensors::SafeTensorError;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Tensors by name, in the layout of files, of whatever type they are.
pub type Tensors = BTreeMap<String, Tensor>;
/// Texts by key.
pub type Texts = BTreeMap<String, String>;

/// What a file holds.
pub struct FileTensors {
    /// Its tensors.
    pub tensors: Tensors,
    /// Its texts.
    pub metadata: Texts,
    /// SHA-256 of all its bytes.
    pub sha256: String,
}

/// Reads a file: first its header, which is held against the file's length before a tensor gets memory.
///
/// # Errors
/// When it is missing, no regular file, damaged, or memory is short; the message names it, and the tensor.
pub fn read(path: &Path) -> Result<FileTensors> {
    let (mut file, header, length) = open(path)?;
    let mut hash = Hash::new();
    hash.add(&header.bytes);
    let (metadata, tensors) =
        tensors(&mut file, header, length, |bytes| hash.add(bytes)).with_context(|| damaged(path, length))?;
    Ok(FileTensors { tensors, metadata, sha256: hash.finish() })
}

/// The tensors and the texts of a file that was read from `path`.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, mut bytes: &[u8]) -> Result<(Tensors, Texts)> {
    let length = bytes.len() as u64;
    let header = Header::read(&mut bytes, length);
    let read = header.and_then(|header| tensors(&mut bytes, header, length, |_| ()));
    read.map(|(texts, tensors)| (tensors, texts)).with_context(|| damaged(path, length))
}

/// What follows a header; `see` is handed its bytes.
fn tensors(file: &mut impl Read, header: Header, length: u64, mut see: impl FnMut(&[u8])) -> Result<(Texts, Tensors)> {
    let most = header.entries.iter().map(|entry| entry.place.1 - entry.place.0).max().unwrap_or_default();
    // A file may be long and empty: what it asks for is asked for as a whole, where a refusal is an answer.
    let needed = usize::try_from(length)?.saturating_add(most);
    let refused = Vec::<u8>::new().try_reserve_exact(needed).is_err();
    ensure!(!refused, "not enough memory for its tensors, {length} bytes");
    let (mut tensors, mut bytes) = (Tensors::new(), Vec::new());
    for entry in header.entries {
        bytes.clear();
        let size = entry.place.1 - entry.place.0;
        file.take(size as u64).read_to_end(&mut bytes).with_context(|| short(&entry.name))?;
        ensure!(bytes.len() == size, "{}: the file ends within it", short(&entry.name));
        see(&bytes);
        let tensor = Tensor::from_raw_buffer(&bytes, entry.dtype, &entry.shape, &Device::Cpu);
        tensors.insert(entry.name.clone(), tensor.with_context(|| short(&entry.name))?);
    }
    Ok((header.metadata, tensors))
}

/// The texts of a file; its tensors are not read.
///
/// # Errors
/// As [`read`].
pub fn metadata(path: &Path) -> Result<Texts> {
    Ok(open(path)?.1.metadata)
}

fn open(path: &Path) -> Result<(File, Header, u64)> {
    let mut file = disk::open(path)?;
    let length = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
    let header = Header::read(&mut file, length).with_context(|| damaged(path, length))?;
    Ok((file, header, length))
}

fn damaged(path: &Path, length: u64) -> String {
    format!("{} is damaged or no safetensors file ({length} bytes)", path.display())
}

/// Writes tensors as one file with one key of metadata, in one rename, with `then` at the file before it is in its place.
///
/// # Errors
/// When the file cannot be written, or `then` fails.
pub fn write(
    path: &Path,
    tensors: &Tensors,
    (key, value): (&str, &str),
    then: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    disk::atomically(path, |partial| {
        let metadata = HashMap::from([(key.to_string(), value.to_string())]);
        safetensors::serialize_to_file(tensors, Some(metadata), partial).map_err(|error| match error {
            SafeTensorError::IoError(error) => Error::from(error),
            other => other.into(),
        })?;
        then(partial)
    })
}
