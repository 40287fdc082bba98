//! What the hub keeps: repositories, branches, commits, files, and who may do what.

use simclr_core::disk;
use std::collections::BTreeMap;
use std::sync::Arc;
use xet_client::cas_client::{DeletionControlableClient, DirectAccessClient, MemoryClient};

pub struct State {
    /// Where the hub is, and where large files go.
    pub address: String,
    pub large: String,
    pub chunks: Arc<MemoryClient>,
    /// Large files that came by plain HTTP, by SHA-256.
    pub plain: BTreeMap<String, Vec<u8>>,
    pub repos: BTreeMap<String, Repo>,
    /// Part of a path, status, how often still.
    pub faults: Vec<(String, u16, usize)>,
    pub requests: Vec<String>,
}

#[derive(Default)]
pub struct Repo {
    pub private: bool,
    pub branches: BTreeMap<String, Vec<Commit>>,
}

#[derive(Clone)]
pub struct Commit {
    pub oid: String,
    pub files: BTreeMap<String, Blob>,
}

/// A file: kept by git as it is, or, where it is large, as a pointer to what has this SHA-256 and this name in the store.
#[derive(Clone)]
pub struct Blob {
    pub bytes: Arc<[u8]>,
    pub large: Option<(String, Option<String>)>,
}

impl Blob {
    pub fn small(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), large: None }
    }

    /// Git's name of it.
    pub fn oid(&self) -> String {
        match &self.large {
            None => disk::git_blob(&self.bytes),
            Some((sha256, _)) => disk::git_blob(
                format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {}\n", self.bytes.len())
                    .as_bytes(),
            ),
        }
    }
}

impl Repo {
    pub fn new(private: bool) -> Self {
        let mut repo = Self { private, ..Self::default() };
        let attributes = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n".to_vec();
        repo.commit("main", BTreeMap::from([(".gitattributes".into(), Blob::small(attributes))]));
        repo
    }

    pub fn head(&self, branch: &str) -> Option<&Commit> {
        self.branches.get(branch)?.last()
    }

    /// A commit by its own name, or the head of a branch.
    pub fn at(&self, revision: &str) -> Option<&Commit> {
        self.head(revision).or_else(|| self.branches.values().flatten().find(|commit| commit.oid == revision))
    }

    pub fn commit(&mut self, branch: &str, files: BTreeMap<String, Blob>) -> String {
        let commits = self.branches.entry(branch.into()).or_default();
        let names: String = files.iter().map(|(path, blob)| format!("{path} {}\n", blob.oid())).collect();
        let oid = disk::git_blob(format!("{branch} {} {names}", commits.len()).as_bytes());
        commits.push(Commit { oid: oid.clone(), files });
        oid
    }
}

impl State {
    pub fn new(address: String, large: String, chunks: Arc<MemoryClient>) -> Self {
        let (plain, repos) = (BTreeMap::new(), BTreeMap::new());
        Self { address, large, chunks, plain, repos, faults: Vec::new(), requests: Vec::new() }
    }

    /// The status of the fault that a path meets now.
    pub fn fault(&mut self, path: &str) -> Option<u16> {
        let (_, status, times) = self.faults.iter_mut().find(|(part, _, times)| *times > 0 && path.contains(part))?;
        *times = times.saturating_sub(1);
        Some(*status)
    }
}

/// A large file of this SHA-256 in the store of chunks, and its name there.
pub async fn find_large(chunks: &MemoryClient, sha256: &str) -> Option<(Vec<u8>, String)> {
    for (hash, _) in chunks.list_file_shard_entries().await.ok()? {
        let bytes = chunks.get_file_data(&hash, None).await.ok()?;
        if disk::sha256(&bytes) == sha256 {
            return Some((bytes.to_vec(), hash.hex()));
        }
    }
    None
}
