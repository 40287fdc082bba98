//! All pictures below a folder, for programs that have a network and no experiment.

use super::folder;
use crate::pictures::Pictures;
use anyhow::Result;
use simclr_core::config::{Corrupt, DataConfig};
use std::path::Path;
use std::sync::Arc;

/// The pictures below `dir`, sorted by path, as `channels` channels; `corrupt` says what becomes of damaged ones. One
/// folder a class or one flat folder, as the dataset `folder` has them.
///
/// # Errors
/// When the folder cannot be read or holds no picture.
pub fn pictures_below(dir: &Path, channels: usize, corrupt: Corrupt) -> Result<Pictures> {
    let config = DataConfig { corrupt, ..DataConfig::new("folder", 1) };
    Ok(Pictures::new(Arc::new(folder::open(dir)?), channels, &config))
}
