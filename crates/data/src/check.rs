//! What of an experiment this crate can check before it opens anything.

use crate::{source, view};
use anyhow::Result;
use simclr_core::config::Config;

/// Checks the dataset's name and keys, and the transforms.
///
/// # Errors
/// Names the first key that is wrong.
pub fn check(config: &Config) -> Result<()> {
    source::find(&config.data)?;
    view::check(&config.augment)
}
