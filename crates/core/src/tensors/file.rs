//! Files of safetensors: tensors, text and the file's hash in one reading, which holds one tensor beside those that it gives.

use super::header::Header;
use crate::disk::{self, Hash};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a file holds.
pub struct FileTensors {
    /// Its tensors, in the layout of files, of whatever type they are.
    pub tensors: BTreeMap<String, Tensor>,
    /// Texts by key.
    pub metadata: BTreeMap<String, String>,
    /// SHA-256 of all its bytes.
    pub sha256: String,
}

/// Reads a file: first its header, which is held against the file's length before a tensor gets memory.
///
/// # Errors
/// When it is missing, no regular file, damaged, or memory is short; the message names it, and the tensor.
pub fn read(path: &Path) -> Result<FileTensors> {
    let (mut file, header, length) = open(path)?;
    let inner = || -> Result<FileTensors> {
        let most = header.entries.iter().map(|entry| entry.place.1 - entry.place.0).max().unwrap_or_default();
        // A file may be long and empty: what it asks for is asked for as a whole, where a refusal is an answer.
        let needed = usize::try_from(length)?.saturating_add(most);
        let refused = Vec::<u8>::new().try_reserve_exact(needed).is_err();
        ensure!(!refused, "not enough memory for its tensors, {length} bytes");
        let (mut hash, mut tensors) = (Hash::new(), BTreeMap::new());
        hash.add(&header.bytes);
        let mut bytes = Vec::new();
        for entry in header.entries {
            bytes.clear();
            let size = entry.place.1 - entry.place.0;
            (&mut file).take(size as u64).read_to_end(&mut bytes).with_context(|| entry.name.clone())?;
            ensure!(bytes.len() == size, "{}: the file ends within it", entry.name);
            hash.add(&bytes);
            let tensor = Tensor::from_raw_buffer(&bytes, entry.dtype, &entry.shape, &Device::Cpu);
            tensors.insert(entry.name.clone(), tensor.with_context(|| entry.name)?);
        }
        Ok(FileTensors { tensors, metadata: header.metadata, sha256: hash.finish() })
    };
    inner().with_context(|| damaged(path, length))
}

/// The texts of a file; its tensors are not read.
///
/// # Errors
/// As [`read`].
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>> {
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
