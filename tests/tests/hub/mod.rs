//! A hub on loopback: the smallest one that the hub's own clients publish to and download from, and its faults.
//!
//! Large files go where the real hub has them: into a store of content-addressed chunks, here the one that the client's
//! makers test with. `tests/python/hub_client.py` holds this server against the official Python client.

// Each test binary uses a part of it.
#![allow(dead_code)]

mod api;
mod cut;
pub mod hostile;
mod store;

use api::{DATASETS, serve};
use simclr_core::disk;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use store::{Blob, Repo, State};
use tokio::runtime::Runtime;
use xet_client::cas_client::{DeletionControlableClient, LocalServer, MemoryClient};
use xet_runtime::core::XetContext;

/// May do everything in the account `me`.
pub const WRITER: &str = "hf_WriterOfThisTest0123456789";
/// May read.
pub const READER: &str = "hf_ReaderOfThisTest0123456789";
/// What the hub hands out for the store of large files.
pub const STORE_TOKEN: &str = "xet_TokenOfThisTest0123456789";

/// A running hub; it ends with this value.
pub struct Hub {
    address: String,
    state: Arc<Mutex<State>>,
    cut: Arc<cut::Cut>,
    _runtime: Runtime,
}

impl Hub {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (address, state, cut) = runtime.block_on(async {
            let chunks = MemoryClient::new(XetContext::default().expect("a context"));
            let bind = || tokio::net::TcpListener::bind("127.0.0.1:0");
            let (hub, large) = (bind().await.expect("a port"), bind().await.expect("a port"));
            let address = |l: &tokio::net::TcpListener| l.local_addr().expect("an address").to_string();
            let (hub_address, large_address) = (address(&hub), address(&large));
            let deletion: Arc<dyn DeletionControlableClient> = chunks.clone();
            let store = LocalServer::from_client(chunks.clone(), Some(deletion), "127.0.0.1".into(), 0);
            tokio::spawn(async move {
                // The sender is kept by nobody who would use it: the server ends with the runtime.
                let (_never, stop) = tokio::sync::oneshot::channel();
                let _ = store.serve_until_stopped(large, stop).await;
            });
            let cut = cut::Cut::before(large_address).await;
            let state = State::new(format!("http://{hub_address}"), format!("http://{}", cut.address), chunks);
            let state = Arc::new(Mutex::new(state));
            tokio::spawn(serve(hub, state.clone()));
            (hub_address, state, cut)
        });
        Self { address: format!("http://{address}"), state, cut, _runtime: runtime }
    }

    /// What `HF_ENDPOINT` must be.
    pub fn endpoint(&self) -> &str {
        &self.address
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("the state")
    }

    /// Bytes of a file at the head of a branch.
    pub fn file(&self, repo: &str, branch: &str, path: &str) -> Option<Vec<u8>> {
        self.state().repos.get(repo)?.head(branch)?.files.get(path).map(|blob| blob.bytes.to_vec())
    }

    /// How many commits a branch has; the first is that of the repository itself.
    pub fn commits(&self, repo: &str, branch: &str) -> usize {
        self.state().repos.get(repo).and_then(|repo| repo.branches.get(branch)).map_or(0, Vec::len)
    }

    /// Name of the commit at the head of a branch.
    pub fn head(&self, repo: &str, branch: &str) -> String {
        self.state().repos[repo].head(branch).expect("a commit").oid.clone()
    }

    /// Commits files to a branch of a dataset, which is made where it is missing. They are large ones, as parquet is.
    pub fn add_dataset(&self, id: &str, branch: &str, files: &[(&str, Vec<u8>)]) {
        let blob = |bytes: &[u8]| Blob { bytes: bytes.into(), large: Some((disk::sha256(bytes), None)) };
        let files: BTreeMap<_, _> = files.iter().map(|(path, bytes)| (path.to_string(), blob(bytes))).collect();
        let mut state = self.state();
        let repo = state.repos.entry(format!("{DATASETS}{id}")).or_insert_with(|| Repo::new(false));
        repo.commit(branch, files);
    }

    /// From now on other bytes of a dataset's file are sent than its hash states.
    pub fn spoil(&self, id: &str, branch: &str, path: &str) {
        let mut state = self.state();
        let repo = state.repos.get_mut(&format!("{DATASETS}{id}")).expect("a dataset");
        let commit = repo.branches.get_mut(branch).and_then(|commits| commits.last_mut()).expect("a commit");
        let blob = commit.files.get_mut(path).expect("a file");
        let mut bytes = blob.bytes.to_vec();
        bytes[9] ^= 1;
        blob.bytes = bytes.into();
    }

    /// Removes a repository.
    pub fn forget(&self, repo: &str) {
        self.state().repos.remove(repo);
    }

    pub fn is_private(&self, repo: &str) -> bool {
        self.state().repos[repo].private
    }

    /// Answers requests whose path holds `part` with `status`, for `times` requests.
    pub fn fail(&self, part: &str, status: u16, times: usize) {
        self.state().faults.push((part.into(), status, times));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.state().faults.clear();
        self.cut.after(usize::MAX);
    }

    /// Cuts connections to the store of large files once they have taken `bytes`.
    pub fn cut_uploads_after(&self, bytes: usize) {
        self.cut.after(bytes);
    }

    /// How many requests have come whose method and path hold `part`.
    pub fn requests(&self, part: &str) -> usize {
        self.state().requests.iter().filter(|request| request.contains(part)).count()
    }
}
