//! Checkpoints and datasets of the Hugging Face hub: their names, downloads through the hub's cache, one message for each
//! failure.
//!
//! What the hub's own tools heed is heeded: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE`, and the token of
//! `HF_TOKEN`, `HF_TOKEN_PATH` or `hf auth login`. Without the feature `hub` there are names alone.

#[cfg(not(feature = "hub"))]
mod absent;
#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod dataset;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod failure;
#[cfg(feature = "hub")]
mod fetch;
#[cfg(feature = "hub")]
mod http;
mod name;
#[cfg(feature = "hub")]
mod token;
#[cfg(feature = "hub")]
mod transfer;

#[cfg(not(feature = "hub"))]
pub use absent::{fetch, redact};
#[cfg(feature = "hub")]
pub use client::{client, offline};
#[cfg(feature = "hub")]
pub use dataset::HubDataset;
#[cfg(feature = "hub")]
pub use failure::explain;
#[cfg(feature = "hub")]
pub use fetch::fetch;
pub use name::{HubPath, RepoId, is_hub_path};
#[cfg(feature = "hub")]
pub use token::{redact, token};
#[cfg(feature = "hub")]
pub use transfer::TransferBar;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

/// Reads `hf://OWNER/NAME[@REV][/FILE]` and fetches what it names; `None` for a path of this machine.
///
/// # Errors
/// As [`fetch`], and when the name is malformed.
pub fn resolve(path: &Path) -> Result<Option<PathBuf>> {
    match path.to_str() {
        Some(text) if is_hub_path(text) => Ok(Some(fetch(&text.parse()?)?)),
        Some(_) => Ok(None),
        None if path.starts_with("hf:") => bail!("{}: not valid Unicode", path.display()),
        None => Ok(None),
    }
}
