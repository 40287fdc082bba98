//! Downloads through the hub's cache, each file held against the hub's own hash.

use super::client::offline;
use super::{RepoId, TransferBar, explain};
use crate::disk;
use anyhow::{Result, ensure};
use hf_hub::repository::RepoType;
use hf_hub::{HFError, HFRepositorySync};
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// A file of a repository, of models or datasets.
pub(super) struct Download<'a, T: RepoType> {
    /// The repository.
    pub repo: &'a HFRepositorySync<T>,
    /// Its name.
    pub id: &'a RepoId,
    /// What messages call that which was asked for.
    pub name: &'a dyn Display,
    /// The file's path in it.
    pub file: &'a str,
    /// A branch, tag or commit; the main branch where there is none.
    pub revision: Option<&'a str>,
    /// What messages call the revision.
    pub asked: &'a str,
}

impl<T: RepoType> Download<'_, T> {
    /// Where the file is on this machine, downloaded where it is missing or damaged.
    ///
    /// # Errors
    /// When the hub, the repository or the file cannot be had, or the hub sends other bytes than it states.
    pub fn get(&self) -> Result<PathBuf> {
        self.get_unless(|_| false)
    }

    /// The same, but that a file whose bytes are `known` to be the right ones is not read to find that out.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_unless(&self, known: impl Fn(&Path) -> bool) -> Result<PathBuf> {
        let file = self.once(false)?;
        if known(&file) || is_whole(&file)? {
            return Ok(file);
        }
        // A transfer that broke, or an error page in the place of a file: the cache does not mend itself.
        ensure!(!offline(), "{} is damaged; unset HF_HUB_OFFLINE to have it downloaded again", file.display());
        let file = self.once(true)?;
        ensure!(is_whole(&file)?, "{}: what the hub sends does not have the hash that it states", self.name);
        Ok(file)
    }

    fn once(&self, force: bool) -> Result<PathBuf> {
        let request = self.repo.download_file().filename(self.file).force_download(force).local_files_only(offline());
        let bar = TransferBar::new(format!("{}/{}", self.id, self.file));
        let done = request.maybe_revision(self.revision).progress(bar).send();
        done.map_err(|error| match error {
            HFError::EntryNotFound { .. } if !offline() => self.missing(),
            HFError::EntryNotFound { .. } | HFError::LocalEntryNotFound { .. } => anyhow::anyhow!(
                "{}: {} is not in the cache {} and HF_HUB_OFFLINE is set; unset it once to download",
                self.name,
                self.file,
                hf_hub::resolve_cache_dir().display()
            ),
            other => explain(other, self.id),
        })
    }

    /// The hub says no more than "not found": this asks what was.
    fn missing(&self) -> anyhow::Error {
        let Self { repo, id, name, file, asked, .. } = self;
        let what = || -> Result<String, HFError> {
            Ok(if !repo.exists().send()? {
                "there is no such repository (or the token may not see it)".into()
            } else if !repo.revision_exists().revision(asked).send()? {
                format!("the repository has no revision {asked}")
            } else {
                format!("the repository has no file {file} at {asked}")
            })
        };
        match what() {
            Ok(what) => anyhow::anyhow!("{name}: {what}"),
            Err(error) => explain(error, id),
        }
    }
}

/// The commit of a file of the cache: `.../snapshots/COMMIT/FILE`.
pub(super) fn commit_of(file: &Path) -> Option<String> {
    let mut parts = file.iter().skip_while(|part| *part != "snapshots");
    parts.nth(1)?.to_str().map(String::from)
}

/// Whether a file of the cache has the hash that its blob is named by: SHA-256 for large files, git's for others.
/// Where the cache holds copies instead of links nothing is known, and the file is taken as it is.
fn is_whole(file: &Path) -> Result<bool> {
    let Ok(blob) = std::fs::read_link(file) else { return Ok(true) };
    match blob.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
        name if name.len() == 64 => Ok(disk::file_sha256(file)? == name),
        name if name.len() == 40 => Ok(disk::file_git_blob(file)? == name),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::run::layout::MODEL;

    #[cfg(unix)]
    #[test]
    fn a_cached_file_is_held_against_its_name() {
        let cache = tempfile::tempdir().unwrap();
        let snapshot = cache.path().join("models--a--b/snapshots/c0ffee");
        std::fs::create_dir_all(&snapshot).unwrap();
        let blobs = cache.path().join("models--a--b/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let file = snapshot.join(MODEL);
        assert_eq!(commit_of(&file).as_deref(), Some("c0ffee"));
        // `git hash-object` of "hello\n", and SHA-256 of it.
        let names = [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ];
        for name in names {
            std::fs::write(blobs.join(name), "hello\n").unwrap();
            std::os::unix::fs::symlink(blobs.join(name), &file).unwrap();
            assert!(is_whole(&file).unwrap());
            std::fs::write(blobs.join(name), "hello").unwrap();
            assert!(!is_whole(&file).unwrap());
            std::fs::remove_file(&file).unwrap();
        }
    }
}
