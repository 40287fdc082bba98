//! Downloads into the hub's cache, in the layout of the hub's own tools; each file is held against the hub's own hash before it
//! gets its name there.

use super::client::offline;
use super::http::{Http, refusal};
use super::{RepoId, TransferBar};
use crate::disk;
use crate::fit::short;
use anyhow::{Context, Result, anyhow, bail, ensure};
use reqwest::StatusCode;
use reqwest::blocking::Response;
use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What a repository holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Models,
    Datasets,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Models => "models",
            Self::Datasets => "datasets",
        }
    }

    /// Where a repository is in the hub's cache.
    pub fn folder(self, id: &RepoId) -> PathBuf {
        hf_hub::resolve_cache_dir().join(format!("{}--{}--{}", self.plural(), id.owner, id.name))
    }

    /// Where the hub tells of a repository, or of its revision.
    pub fn about<'a>(self, id: &'a RepoId, revision: Option<&'a str>) -> Vec<&'a str> {
        let mut parts = vec!["api", self.plural(), &id.owner, &id.name];
        parts.extend(revision.into_iter().flat_map(|revision| ["revision", revision]));
        parts
    }
}

/// A file of a repository.
pub(super) struct Download<'a> {
    /// What asks.
    pub http: &'a Http,
    /// What the repository holds.
    pub kind: Kind,
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
    /// Most bytes that it may have.
    pub most: u64,
}

/// What the hub states of a file.
struct Stated {
    commit: String,
    /// SHA-256, or git's name.
    hash: String,
    bytes: Option<u64>,
}

impl Download<'_> {
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
        let (file, fresh) = self.once(false)?;
        if fresh || known(&file) || is_whole(&file)? {
            return Ok(file);
        }
        // A transfer of another tool that broke, or a disk that did: the cache does not mend itself.
        ensure!(!offline(), "{} is damaged; unset HF_HUB_OFFLINE to have it downloaded again", file.display());
        Ok(self.once(true)?.0)
    }

    /// The file, and whether its bytes were held against their hash now.
    fn once(&self, force: bool) -> Result<(PathBuf, bool)> {
        ensure!(is_plain(self.file), "{}: \"{}\" is no path of a file", self.name, short(&self.file));
        let folder = self.kind.folder(self.id);
        let revision = self.revision.unwrap_or("main");
        ensure!(is_plain(revision), "{}: \"{}\" is no revision", self.name, short(&revision));
        let cached = |commit: &str| Some(folder.join("snapshots").join(commit).join(self.file)).filter(|f| f.exists());
        let last = || match is_commit(revision) {
            true => Some(revision.to_string()),
            false => Some(disk::read_small_text(&folder.join("refs").join(revision), 1 << 10).ok()?.trim().to_string()),
        };
        let last = || last().filter(|commit| is_commit(commit)).and_then(|commit| cached(&commit));
        if is_commit(revision)
            && !force
            && let Some(file) = last()
        {
            return Ok((file, false));
        }
        if offline() {
            return last().map(|file| (file, false)).with_context(|| {
                format!(
                    "{}: {} is not in the cache {} and HF_HUB_OFFLINE is set; unset it once to download",
                    self.name,
                    self.file,
                    hf_hub::resolve_cache_dir().display()
                )
            });
        }
        match (self.first(revision), last()) {
            (Ok(answer), _) => self.take(answer, &folder, revision, force),
            // Without the hub, what it said the last time.
            (Err((error, true)), Some(file)) if !force => {
                tracing::warn!("{error:#}; taking what the cache holds");
                Ok((file, false))
            }
            (Err((error, _)), _) => Err(error),
        }
    }

    /// The answer that names the file's hash; an error, and whether it may be one of the network.
    fn first(&self, revision: &str) -> Result<Response, (anyhow::Error, bool)> {
        let prefix = (self.kind == Kind::Datasets).then_some("datasets");
        let parts = [&self.id.owner, &self.id.name, "resolve", revision];
        let mut url = self.http.at(prefix.into_iter().chain(parts).chain(self.file.split('/')));
        for _ in 0..8 {
            let answer = self.http.ask(&url, self.id).map_err(|error| (error, true))?;
            match answer.status() {
                StatusCode::NOT_FOUND => return Err((self.missing(), false)),
                status if status.is_redirection() && stated(&answer).is_none() => {
                    // A repository that has another name now.
                    url = self.http.next(&answer, self.id).map_err(|error| (error, false))?;
                }
                status if status.is_success() || status.is_redirection() => return Ok(answer),
                status => return Err((refusal(answer, self.id), status.is_server_error())),
            }
        }
        Err((anyhow!("{}: the hub redirects in a circle", self.name), false))
    }

    /// Puts what an answer leads to into the cache.
    fn take(&self, answer: Response, folder: &Path, revision: &str, force: bool) -> Result<(PathBuf, bool)> {
        let Self { name, file, most, .. } = self;
        let Stated { commit, hash, bytes } = stated(&answer)
            .with_context(|| format!("{name}: the hub states no commit and no hash of {file}: is it a hub?"))?;
        ensure!(
            bytes.is_none_or(|bytes| bytes <= *most),
            "{name}: {file} has {} bytes, at most {most} are taken",
            bytes.unwrap_or(0)
        );
        let blob = folder.join("blobs").join(&hash);
        let make = |dir: &Path| std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()));
        let locks = hf_hub::resolve_cache_dir().join(".locks").join(folder.file_name().unwrap_or_default());
        make(&locks)?;
        make(&folder.join("blobs"))?;
        // One of several processes, or ranks, downloads it.
        let lock = locks.join(format!("{hash}.lock"));
        let lock = File::create(&lock)
            .and_then(|file| file.lock().map(|()| file))
            .with_context(|| format!("cannot lock {}", lock.display()))?;
        let fresh = force || !blob.exists();
        if fresh {
            let part = folder.join("blobs").join(format!("{hash}.incomplete"));
            let taken = self.fill(answer, &part, bytes).and_then(|()| {
                ensure!(has_hash(&part, &hash)?, "{name}: what the hub sends does not have the hash that it states");
                std::fs::rename(&part, &blob).with_context(|| format!("cannot write {}", blob.display()))
            });
            if taken.is_err() {
                let _ = std::fs::remove_file(&part);
            }
            taken?;
        }
        let place = folder.join("snapshots").join(&commit).join(file);
        if let Some(dir) = place.parent() {
            make(dir)?;
        }
        link(&blob, &place, file).with_context(|| format!("cannot write {}", place.display()))?;
        if !is_commit(revision) {
            let known = folder.join("refs").join(revision);
            if let Some(dir) = known.parent() {
                make(dir)?;
            }
            disk::write(&known, commit.as_bytes())?;
        }
        drop(lock);
        Ok((place, fresh))
    }

    /// Writes the bytes of the file to `part`.
    fn fill(&self, answer: Response, part: &Path, bytes: Option<u64>) -> Result<()> {
        let answer = self.http.follow(answer, self.id)?;
        let bar = TransferBar::new(format!("{}/{}", self.id, self.file));
        let writing = || format!("cannot write {}", part.display());
        let mut out = File::create(part).with_context(writing)?;
        let mut done = 0;
        let copied = self.http.copy(answer, bytes.unwrap_or(self.most), self.id, |piece| {
            done += piece.len() as u64;
            bar.at(done, bytes.unwrap_or(0));
            out.write_all(piece).with_context(writing)
        });
        let copied = copied.with_context(|| format!("{}: {}", self.name, self.file))?;
        if let Some(bytes) = bytes.filter(|bytes| *bytes != copied) {
            bail!("{}: {} broke off after {copied} of {bytes} bytes", self.name, self.file)
        }
        out.sync_all().with_context(writing)
    }

    /// The hub says no more than "not found": this asks what was.
    fn missing(&self) -> anyhow::Error {
        let Self { http, kind, id, name, file, asked, .. } = self;
        let what = || -> Result<String> {
            Ok(if !http.exists(&http.at(kind.about(id, None)), id)? {
                "there is no such repository (or the token may not see it)".into()
            } else if !http.exists(&http.at(kind.about(id, Some(asked))), id)? {
                format!("the repository has no revision {asked}")
            } else {
                format!("the repository has no file {file} at {asked}")
            })
        };
        match what() {
            Ok(what) => anyhow!("{name}: {what}"),
            Err(error) => error,
        }
    }
}

/// What an answer states of the file behind it; `None` where it does not, or in another form: names from outside become names of
/// files here.
fn stated(answer: &Response) -> Option<Stated> {
    let header = |name: &str| answer.headers().get(name)?.to_str().ok();
    let hash = header("x-linked-etag").or(header("etag"))?;
    let hash = hash.strip_prefix("W/").unwrap_or(hash).trim_matches('"');
    let commit = header("x-repo-commit").filter(|commit| is_commit(commit))?;
    let bytes = header("x-linked-size").or(header("content-length").filter(|_| answer.status().is_success()));
    let hash = Some(hash).filter(|hash| [40, 64].contains(&hash.len()) && is_hex(hash))?;
    Some(Stated { commit: commit.into(), hash: hash.into(), bytes: bytes.and_then(|bytes| bytes.parse().ok()) })
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether it is the name of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

/// Whether a path stays below where it begins, on every system.
pub(super) fn is_plain(path: &str) -> bool {
    let part =
        |part: &str| !["", ".", ".."].contains(&part) && !part.contains(|c: char| c.is_control() || "\\:".contains(c));
    path.len() <= 1024 && path.split('/').all(part)
}

/// The commit of a file of the cache: `.../snapshots/COMMIT/FILE`.
pub(super) fn commit_of(file: &Path) -> Option<String> {
    let mut parts = file.iter().skip_while(|part| *part != "snapshots");
    parts.nth(1)?.to_str().map(String::from)
}

/// Makes `place` the file `blob` of the same repository: by a link where there are links.
fn link(blob: &Path, place: &Path, file: &str) -> std::io::Result<()> {
    let _ = std::fs::remove_file(place);
    #[cfg(unix)]
    {
        let up = "../".repeat(2 + file.matches('/').count());
        let blob = Path::new(&up).join("blobs").join(blob.file_name().unwrap_or_default());
        match std::os::unix::fs::symlink(blob, place) {
            // Another process was as quick.
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        std::fs::copy(blob, place).map(|_| ())
    }
}

/// Whether a file of the cache has the hash that its blob is named by: SHA-256 for large files, git's for others.
/// Where the cache holds copies instead of links nothing is known, and the file is taken as it is.
fn is_whole(file: &Path) -> Result<bool> {
    let Ok(blob) = std::fs::read_link(file) else { return Ok(true) };
    has_hash(file, blob.file_name().and_then(|name| name.to_str()).unwrap_or_default())
}

fn has_hash(file: &Path, hash: &str) -> Result<bool> {
    match hash.len() {
        64 => Ok(disk::file_sha256(file)? == hash),
        40 => Ok(disk::file_git_blob(file)? == hash),
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
            link(&blobs.join(name), &file, MODEL).unwrap();
            assert!(is_whole(&file).unwrap());
            std::fs::write(blobs.join(name), "hello").unwrap();
            assert!(!is_whole(&file).unwrap());
        }
    }

    #[test]
    fn paths_stay_where_they_begin() {
        for plain in ["a", "a/b.parquet", "..a/b..", "refs/convert/parquet", "ä b"] {
            assert!(is_plain(plain), "{plain}");
        }
        let long = "a".repeat(2000);
        for other in ["", "/a", "a//b", "..", "a/../b", "a/", "./a", "a\\b", "C:x", "a\nb", "a\u{7f}", &long] {
            assert!(!is_plain(other), "{other:?}");
        }
    }
}
