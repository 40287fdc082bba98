//! Uploads, for a binary that was built without the hub.

use crate::folder::Published;
use crate::place::{Outcome, Place};
use anyhow::Result;
use simclr_core::features;

/// Says what is missing, and how to get it.
///
/// # Errors
/// Always.
pub fn send(place: &Place<'_>, _: &[Published]) -> Result<Outcome> {
    Err(features::lacking(&format!("publishing to {}", place.repo), &["hub"]))
}
