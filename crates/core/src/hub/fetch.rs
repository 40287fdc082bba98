//! Downloads through the hub's cache, each file held against the hub's own hash.

use super::{HubPath, TransferBar, explain, token};
use crate::disk;
use crate::run::layout::{CONFIG, MODEL};
use anyhow::{Context, Result, ensure};
use hf_hub::repository::RepoTypeModel;
use hf_hub::{HFClient, HFClientSync, HFError, HFRepositorySync};
use std::path::{Path, PathBuf};

/// A client for the hub that the environment names, with its token where there is one. `HF_HUB_DISABLE_IMPLICIT_TOKEN`
/// keeps it from reading with the token; writing cannot do without.
///
/// # Errors
/// When `HF_ENDPOINT` is no URL.
pub fn client(writes: bool) -> Result<HFClientSync> {
    let mut builder = HFClient::builder();
    let implicit = std::env::var("HF_HUB_DISABLE_IMPLICIT_TOKEN").map_or(true, |value| value.is_empty());
    if let Some(token) = token().filter(|_| writes || implicit) {
        builder = builder.token(token);
    }
    builder.build_sync().map_err(|error| match error {
        HFError::Url(why) => anyhow::anyhow!(
            "HF_ENDPOINT = {:?} is no URL ({why}); it must look like https://host",
            std::env::var("HF_ENDPOINT").unwrap_or_default()
        ),
        other => anyhow::Error::new(other).context("starting the hub's client"),
    })
}

/// Whether `HF_HUB_OFFLINE` asks for the cache alone; the words that count are those of the hub's Python library.
pub fn offline() -> bool {
    std::env::var("HF_HUB_OFFLINE").is_ok_and(|v| ["1", "on", "yes", "true"].contains(&v.to_lowercase().as_str()))
}

/// The weights of `path` in the hub's cache, downloaded where they are missing, with their `config.json` beside them.
/// Both are of one commit, and what was downloaded is held against the hub's own hash.
///
/// # Errors
/// When the hub, the repository or the file cannot be had, each with its own message.
pub fn fetch(path: &HubPath) -> Result<PathBuf> {
    let client = client(false)?;
    let repo = client.model(&path.repo.owner, &path.repo.name);
    let weights = path.file.clone().unwrap_or_else(|| MODEL.to_string());
    let config = match weights.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{CONFIG}"),
        None => CONFIG.to_string(),
    };
    let config = Download { repo: &repo, path, file: &config, revision: path.revision.as_deref() }.get()?;
    // A branch may move between two downloads: the weights come from the commit that the first one met.
    let commit = commit_of(&config).with_context(|| format!("{} is in no snapshot", config.display()))?;
    Download { repo: &repo, path, file: &weights, revision: Some(&commit) }.get()
}

struct Download<'a> {
    repo: &'a HFRepositorySync<RepoTypeModel>,
    path: &'a HubPath,
    file: &'a str,
    revision: Option<&'a str>,
}

impl Download<'_> {
    fn get(&self) -> Result<PathBuf> {
        let file = self.once(false)?;
        if is_whole(&file)? {
            return Ok(file);
        }
        // A transfer that broke, or an error page in the place of a file: the cache does not mend itself.
        ensure!(!offline(), "{} is damaged; unset HF_HUB_OFFLINE to have it downloaded again", file.display());
        let file = self.once(true)?;
        ensure!(is_whole(&file)?, "{}: what the hub sends does not have the hash that it states", self.path);
        Ok(file)
    }

    fn once(&self, force: bool) -> Result<PathBuf> {
        let request = self.repo.download_file().filename(self.file).force_download(force).local_files_only(offline());
        let bar = TransferBar::new(format!("{}/{}", self.path.repo, self.file));
        let done = request.maybe_revision(self.revision).progress(bar).send();
        done.map_err(|error| match error {
            HFError::EntryNotFound { .. } if !offline() => self.missing(),
            HFError::EntryNotFound { .. } | HFError::LocalEntryNotFound { .. } => anyhow::anyhow!(
                "{}: {} is not in the cache {} and HF_HUB_OFFLINE is set; unset it once to download",
                self.path,
                self.file,
                hf_hub::resolve_cache_dir().display()
            ),
            other => explain(other, &self.path.repo),
        })
    }

    /// The hub says no more than "not found": this asks what was.
    fn missing(&self) -> anyhow::Error {
        let Self { repo, path, file, .. } = self;
        let revision = path.revision.as_deref().unwrap_or("main");
        let what = || -> Result<String, HFError> {
            Ok(if !repo.exists().send()? {
                "there is no such repository (or the token may not see it)".into()
            } else if !repo.revision_exists().revision(revision).send()? {
                format!("the repository has no revision {revision}")
            } else {
                format!("the repository has no file {file} at {revision}")
            })
        };
        match what() {
            Ok(what) => anyhow::anyhow!("{path}: {what}"),
            Err(error) => explain(error, &path.repo),
        }
    }
}

/// The commit of a file of the cache: `.../snapshots/COMMIT/FILE`.
fn commit_of(file: &Path) -> Option<String> {
    let mut parts = file.iter().skip_while(|part| *part != "snapshots");
    parts.nth(1)?.to_str().map(String::from)
}

/// Whether a file of the cache has the hash that its blob is named by: SHA-256 for large files, git's for others.
/// Where the cache holds copies instead of links nothing is known, and the file is taken as it is.
fn is_whole(file: &Path) -> Result<bool> {
    let Ok(blob) = std::fs::read_link(file) else { return Ok(true) };
    match blob.file_name().and_then(|name| name.to_str()).unwrap_or_default() {
        name if name.len() == 64 => Ok(disk::file_sha256(file)? == name),
        name if name.len() == 40 => {
            let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            Ok(disk::git_blob(&bytes) == name)
        }
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
