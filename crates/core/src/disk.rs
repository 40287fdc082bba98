//! Files that are either whole or absent: temporary file, fsync, rename; and their hashes.

use anyhow::{Context, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Writes `path` through a temporary file beside it that `write` gets the path of: after a crash there is the old
/// file or the new one, never a part.
///
/// # Errors
/// When `write` fails or the folder cannot be written.
pub fn atomically(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let inner = || -> Result<()> {
        let dir = path.parent().context("a file needs a folder")?;
        let name = path.file_name().context("a file needs a name")?;
        let partial = dir.join(format!(".{}.partial", name.to_string_lossy()));
        write(&partial)?;
        // For writing, without which Windows syncs nothing.
        File::options().write(true).open(&partial)?.sync_all()?;
        std::fs::rename(&partial, path)?;
        // The rename itself must survive a power cut; not every file system lets a folder be synced.
        if let Ok(dir) = File::open(dir) {
            let _ = dir.sync_all();
        }
        Ok(())
    };
    inner().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes bytes [`atomically`].
///
/// # Errors
/// When the folder cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    atomically(path, |partial| Ok(File::create(partial)?.write_all(bytes)?))
}

/// Writes pretty JSON with a newline at the end, [`atomically`].
///
/// # Errors
/// When the folder cannot be written.
pub fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    write(path, format!("{value:#}\n").as_bytes())
}

/// Reads a JSON file.
///
/// # Errors
/// When it is missing or not JSON; the message names it.
pub fn read_json(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not valid JSON", path.display()))
}

/// SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// SHA-256 of bytes that come in pieces.
#[derive(Default)]
pub struct Hash(Sha256);

impl Hash {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash, in hexadecimal.
    pub fn finish(self) -> String {
        hex(self.0.finalize())
    }
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub fn file_sha256(path: &Path) -> Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    let (mut hash, mut buffer) = (Hash::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).with_context(context)? {
            0 => return Ok(hash.finish()),
            n => hash.add(&buffer[..n]),
        }
    }
}

/// The name that git gives to these bytes: SHA-1 of a header and them.
pub fn git_blob(bytes: &[u8]) -> String {
    hex(Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write(&path, b"abc").unwrap();
        atomically(&path, |partial| {
            std::fs::write(partial, b"half")?;
            anyhow::bail!("power cut")
        })
        .unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((file_sha256(&path).unwrap().as_str(), sha256(b"abc").as_str()), (known, known));
    }
}
