//! The hub of a binary that was built without it.

use super::HubPath;
use crate::features;
use anyhow::Result;
use std::path::PathBuf;

/// Says what is missing, and how to get it.
///
/// # Errors
/// Always.
pub fn fetch(path: &HubPath) -> Result<PathBuf> {
    Err(features::lacking(&path.to_string(), &["hub"]))
}

/// `text` as it is: what never talks to the hub reads no token.
pub fn redact(text: &str) -> String {
    text.into()
}
