//! Checkpoints through the hub's cache.

use super::HubPath;
use super::download::{Download, Kind, commit_of};
use super::http::Http;
use crate::bounds;
use crate::run::layout::{CONFIG, MODEL};
use anyhow::{Context, Result};
use std::path::PathBuf;

/// The weights of `path` in the hub's cache, downloaded where they are missing, with their `config.json` beside them.
/// Both are of one commit, and what was downloaded is held against the hub's own hash.
///
/// # Errors
/// When the hub, the repository or the file cannot be had, each with its own message.
pub fn fetch(path: &HubPath) -> Result<PathBuf> {
    let http = Http::new()?;
    let weights = path.file.clone().unwrap_or_else(|| MODEL.to_string());
    let config = match weights.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{CONFIG}"),
        None => CONFIG.to_string(),
    };
    let asked = path.revision.as_deref();
    let get = |file: &str, revision, most| {
        let asked = asked.unwrap_or("main");
        Download { http: &http, kind: Kind::Models, id: &path.repo, name: path, file, revision, asked, most }.get()
    };
    let config = get(&config, asked, bounds::SMALL_FILE)?;
    // A branch may move between two downloads: the weights come from the commit that the first one met.
    let commit = commit_of(&config).with_context(|| format!("{} is in no snapshot", config.display()))?;
    get(&weights, Some(&commit), bounds::FILE)
}
