//! Files that are either whole or absent: temporary file, fsync, rename; the one reader of what others wrote; hashes.

use crate::bounds;
use crate::persevere::persevere;
use anyhow::{Context, Error, Result, bail, ensure};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::{File, FileType};
use std::io::{Read, Write};
use std::path::Path;

/// Writes `path` through a temporary file beside it that `write` gets the path of: after a crash there is the old
/// file or the new one, never a part. A disk that fails for a while is tried again.
///
/// # Errors
/// When `write` fails or the folder cannot be written. The old file is there then, and the temporary one is not.
pub fn atomically(path: &Path, mut write: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    let dir = path.parent().with_context(|| format!("{}: a file needs a folder", path.display()))?;
    let name = path.file_name().with_context(|| format!("{}: a file needs a name", path.display()))?;
    let partial = dir.join(format!(".{}.partial", name.to_string_lossy()));
    let mut inner = || -> Result<()> {
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
    let mut attempt = || {
        inner().inspect_err(|_| {
            // It holds room that others need.
            let _ = std::fs::remove_file(&partial);
        })
    };
    persevere(|| format!("writing {}", path.display()), &mut attempt)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Adds bytes to a file that is open for that: all of them, or none where it fails. A disk that fails for a while is tried again.
///
/// # Errors
/// When the file cannot be written.
pub fn add_to(path: &Path, file: &mut File, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let length = file.metadata().with_context(cannot)?.len();
    let attempt = || {
        file.write_all(bytes).map_err(|error| {
            let _ = file.set_len(length);
            Error::from(error)
        })
    };
    persevere(|| format!("writing {}", path.display()), attempt).with_context(cannot)
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

/// Opens a file that somebody else may have made, to be read: a regular file, or a link to one. A named pipe would keep the
/// program waiting, and a device never ends.
///
/// # Errors
/// When it is missing, may not be read, or is no regular file; the message names it.
pub fn open(path: &Path) -> Result<File> {
    let cannot = || format!("cannot read {}", path.display());
    expect_regular(std::fs::metadata(path).with_context(cannot)?.file_type()).with_context(cannot)?;
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).with_context(cannot)?;
    // Somebody may have put another in its place in between.
    expect_regular(file.metadata().with_context(cannot)?.file_type()).with_context(cannot)?;
    Ok(file)
}

/// Opens a file to be added to, made where it is missing.
///
/// # Errors
/// When it may not be written, or is no regular file; the message names it.
pub fn append(path: &Path) -> Result<File> {
    let cannot = || format!("cannot write {}", path.display());
    if let Ok(found) = std::fs::metadata(path) {
        expect_regular(found.file_type()).with_context(cannot)?;
    }
    File::options().create(true).append(true).open(path).with_context(cannot)
}

fn expect_regular(kind: FileType) -> Result<()> {
    if kind.is_file() {
        return Ok(());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        ensure!(!kind.is_fifo(), "it is a named pipe, expected a regular file");
        ensure!(!kind.is_socket(), "it is a socket, expected a regular file");
        ensure!(!kind.is_char_device() && !kind.is_block_device(), "it is a device, expected a regular file");
    }
    match kind.is_dir() {
        true => bail!("it is a folder, expected a file"),
        false => bail!("it is no regular file"),
    }
}

/// Whether there is such a regular file, or a link to one.
pub fn is_regular(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file())
}

/// Reads a file of at most `most` bytes: not one more is kept, however long it is and whatever length it states.
///
/// # Errors
/// When it is missing, no regular file or longer; the message names it.
pub fn read_small(path: &Path, most: u64) -> Result<Vec<u8>> {
    let file = open(path)?;
    let cannot = || format!("cannot read {}", path.display());
    let length = file.metadata().with_context(cannot)?.len();
    ensure!(length <= most, "{} has {length} bytes: such a file has at most {most}", path.display());
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length)?).with_context(cannot)?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).with_context(cannot)?;
    ensure!(bytes.len() as u64 <= most, "{} has more than {most} bytes, the most of such a file", path.display());
    Ok(bytes)
}

/// Reads a file that may be as large as memory is.
///
/// # Errors
/// When it is missing, no regular file, or memory is short; the message names it.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    read_small(path, u64::MAX)
}

/// As [`read_small`], for a file of text.
///
/// # Errors
/// As [`read_small`], and when it is not UTF-8.
pub fn read_small_text(path: &Path, most: u64) -> Result<String> {
    let bytes = read_small(path, most)?;
    String::from_utf8(bytes).map_err(|error| {
        anyhow::anyhow!("{} is not text in UTF-8 (byte {})", path.display(), error.utf8_error().valid_up_to())
    })
}

/// Reads a JSON file of at most [`bounds::SMALL_FILE`] bytes.
///
/// # Errors
/// When it is missing, no regular file, longer, or not JSON; the message names it.
pub fn read_json(path: &Path) -> Result<serde_json::Value> {
    read_json_of(path, bounds::SMALL_FILE)
}

/// As [`read_json`], of at most `most` bytes.
///
/// # Errors
/// As [`read_json`].
pub fn read_json_of(path: &Path, most: u64) -> Result<serde_json::Value> {
    parse_json(path, &read_small(path, most)?)
}

/// The JSON that was read from `path`. Values lie at most 128 deep in one another.
///
/// # Errors
/// When it is none; the message names the file.
pub fn parse_json(path: &Path, bytes: &[u8]) -> Result<serde_json::Value> {
    serde_json::from_slice(bytes).with_context(|| format!("{} is not valid JSON", path.display()))
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

    /// Adds all bytes that are left of a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_rest(&mut self, file: &mut impl Read) -> std::io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                n => self.add(&buffer[..n]),
            }
        }
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
    let (mut file, mut hash) = (open(path)?, Hash::new());
    hash.add_rest(&mut file).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hash.finish())
}

/// The name that git gives to these bytes: SHA-1 of a header and them.
pub fn git_blob(bytes: &[u8]) -> String {
    hex(Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

/// The same of a file.
///
/// # Errors
/// When the file cannot be read, or changes meanwhile.
pub fn file_git_blob(path: &Path) -> Result<String> {
    let context = || format!("cannot read {}", path.display());
    let mut file = open(path)?;
    let length = file.metadata().with_context(context)?.len();
    let mut hash = Sha1::new_with_prefix(format!("blob {length}\0"));
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).with_context(context)? {
            0 => return Ok(hex(hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
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
    #[test]
    fn what_is_no_small_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("text"), "abc").unwrap();
        assert_eq!(read_small_text(&at("text"), 3).unwrap(), "abc");
        std::fs::write(at("bytes"), [b'a', 0xff]).unwrap();
        std::fs::write(at("deep"), "[".repeat(10_000)).unwrap();
        let mut refused =
            vec![(at("text"), "has 3 bytes"), (at("none"), "No such file"), (dir.path().into(), "a folder")];
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
            std::os::unix::fs::symlink(at("pipe"), at("linked")).unwrap();
            let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
            refused.extend([(at("pipe"), "a named pipe"), (at("linked"), "a named pipe"), (at("socket"), "a socket")]);
            refused.extend([(at("loop"), "symbolic links"), ("/dev/zero".into(), "a device")]);
        }
        #[cfg(target_os = "linux")]
        // It states no length.
        refused.push(("/proc/self/status".into(), "has more than 2 bytes"));
        #[cfg(unix)]
        assert!(format!("{:#}", append(&at("pipe")).unwrap_err()).contains("a named pipe"));
        for (path, why) in refused {
            let message = format!("{:#}", read_small(&path, 2).unwrap_err());
            assert!(message.contains(why) && message.contains(&path.display().to_string()), "{message}");
        }
        assert!(read_small_text(&at("bytes"), 2).unwrap_err().to_string().contains("not text in UTF-8 (byte 1)"));
        let message = format!("{:#}", read_json(&at("deep")).unwrap_err());
        assert!(message.contains("deep is not valid JSON: recursion limit"), "{message}");
    }
}
