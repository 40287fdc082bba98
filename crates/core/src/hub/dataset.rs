//! Datasets of the hub: the files of the branch that holds each of them as parquet.

use super::RepoId;
use super::client::offline;
use super::download::{Download, Kind, is_commit, is_plain};
use super::http::Http;
use crate::bounds;
use crate::disk;
use crate::fit::{quoted, short};
use anyhow::{Context, Result, anyhow, bail, ensure};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

/// Where the hub keeps every dataset as parquet.
const REVISION: &str = "refs/convert/parquet";
/// Beside the files in the hub's cache: what [`Known`] says.
const KNOWN: &str = "simclr-dataset.json";

/// Most bytes of the list of its files.
const LARGEST_LIST: u64 = 64 << 20;

/// What is known of a dataset without the hub.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Known {
    /// The commit that the branch was at when its files were listed.
    commit: String,
    /// Paths of all its files, sorted.
    files: Vec<String>,
    /// Length and time of change of the files whose hash was compared: to read a large dataset for that on every start
    /// would take minutes.
    checked: BTreeMap<String, (u64, u64)>,
}

/// A dataset of the hub at the commit that its branch is at.
pub struct HubDataset {
    id: RepoId,
    http: Http,
    folder: PathBuf,
    known: Mutex<Known>,
}

impl HubDataset {
    /// Asks the hub which files there are; with `HF_HUB_OFFLINE` the list is that of the last time.
    ///
    /// # Errors
    /// When the hub cannot be reached, or does not know or show the dataset; offline, when it was never listed.
    pub fn open(id: &RepoId) -> Result<Self> {
        let http = Http::new()?;
        let (cache, folder) = (hf_hub::resolve_cache_dir(), Kind::Datasets.folder(id));
        let path = folder.join(KNOWN);
        let before: Option<Known> =
            disk::read_json_of(&path, LARGEST_LIST).ok().and_then(|json| serde_json::from_value(json).ok());
        let known = match (offline(), before) {
            (true, Some(known)) => known,
            (true, None) => bail!(
                "{id}: the list of its files is not in the cache {} and HF_HUB_OFFLINE is set; unset it once to \
                 download",
                cache.display()
            ),
            (false, before) => {
                let (commit, files) = listed(&http, id)?;
                let checked = before.filter(|b| b.commit == commit).map(|b| b.checked).unwrap_or_default();
                let known = Known { commit, files, checked };
                save(&path, &known)?;
                known
            }
        };
        Ok(Self { id: id.clone(), http, folder, known: Mutex::new(known) })
    }

    /// Paths of all its files, sorted.
    pub fn files(&self) -> Vec<String> {
        self.known().files.clone()
    }

    /// Where a file is on this machine, downloaded where it is missing or damaged.
    ///
    /// # Errors
    /// When it cannot be had, or the hub sends other bytes than it states.
    pub fn fetch(&self, file: &str) -> Result<PathBuf> {
        let Known { commit, checked, .. } = self.known().clone();
        if !offline() && !self.folder.join("snapshots").join(&commit).join(file).exists() {
            tracing::info!("downloading {file} of {}", self.id);
        }
        let (http, id, revision) = (&self.http, &self.id, Some(commit.as_str()));
        let (kind, asked, most) = (Kind::Datasets, REVISION, bounds::FILE);
        let download = Download { http, kind, id, name: id, file, revision, asked, most };
        let path = download.get_unless(|path| checked.get(file).is_some_and(|seen| state(path) == Some(*seen)))?;
        if let Some(state) = state(&path)
            && checked.get(file) != Some(&state)
        {
            let mut known = self.known();
            known.checked.insert(file.into(), state);
            save(&self.folder.join(KNOWN), &known)?;
        }
        Ok(path)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the hub says of a revision of a dataset.
#[derive(Deserialize)]
struct About {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

fn listed(http: &Http, id: &RepoId) -> Result<(String, Vec<String>)> {
    let answer = http.ask(&http.at(Kind::Datasets.about(id, Some(REVISION))), id)?;
    if answer.status() == StatusCode::NOT_FOUND {
        // That it is not found is said of the branch, or of the whole repository.
        match http.exists(&http.at(Kind::Datasets.about(id, None)), id)? {
            true => bail!("{id}: the hub has not converted this dataset to parquet (it has no {REVISION})"),
            false => bail!("{id}: there is no such repository (or the token may not see it)"),
        }
    }
    let text = http.short(http.follow(answer, id)?, LARGEST_LIST, id)?;
    let about: About = serde_json::from_slice(&text)
        .map_err(|error| anyhow!("{id}: the hub's list of its files is damaged: {}", quoted(&error.to_string())))?;
    ensure!(is_commit(&about.sha), "{id}: the hub names the commit \"{}\", which is none", short(&about.sha));
    let mut files: Vec<String> = about.siblings.into_iter().map(|file| file.rfilename).collect();
    if let Some(file) = files.iter().find(|file| !is_plain(file)) {
        bail!("{id}: the hub lists a file called \"{}\", and no file may be called so", short(&file))
    }
    files.sort_unstable();
    Ok((about.sha, files))
}

fn save(path: &Path, known: &Known) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    disk::write(path, serde_json::to_string(known)?.as_bytes())
}

/// Length and time of change, in nanoseconds.
fn state(path: &Path) -> Option<(u64, u64)> {
    let about = std::fs::metadata(path).ok()?;
    let changed = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((about.len(), u64::try_from(changed.as_nanos()).ok()?))
}
