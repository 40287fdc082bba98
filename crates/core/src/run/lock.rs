//! The lock on a run's folder: one process works on a run.

use super::layout::LOCK;
use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The lock; the folder is free again when it is dropped, or when the process ends in any way.
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock on a folder.
    ///
    /// # Errors
    /// When another process holds it, or the folder cannot be written.
    pub fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(LOCK);
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path);
            let file = file.with_context(|| format!("cannot write into the folder {}", dir.display()))?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => bail!("another process works on {}", dir.display()),
                // A file system without locks: go on without.
                Ok(()) | Err(TryLockError::Error(_)) => (),
            }
            // Whoever had it before may have removed the file since it was opened.
            if is_at(&file, &path) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = || -> io::Result<bool> {
        let (open, there) = (file.metadata()?, std::fs::metadata(path)?);
        Ok((open.dev(), open.ino()) == (there.dev(), there.ino()))
    };
    same().unwrap_or(false)
}

/// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_at_a_time_and_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let held = Lock::take(dir.path()).unwrap();
            assert!(Lock::take(dir.path()).err().unwrap().to_string().contains("another process works on"));
            drop(held);
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        let message = format!("{:#}", Lock::take(&dir.path().join("none")).err().unwrap());
        assert!(message.contains("cannot write into the folder"), "{message}");
    }

    /// Threads that all want a folder for a moment: never two of them have it.
    #[test]
    fn who_comes_while_it_is_given_back_gets_it_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let Ok(held) = Lock::take(dir.path()) else { continue };
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(held);
                    }
                });
            }
        });
    }
}
