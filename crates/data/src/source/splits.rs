//! The two splits of a dataset of files, opened and given the same classes.

use super::dataset::Dataset;
use super::files::{Files, unite};
use super::locate::{Split, select};
use crate::image::Images;
use crate::set::Pictures;
use anyhow::{Context, Result};
use simclr_core::config::DataConfig;
use std::sync::Arc;

/// The dataset whose splits are among the shards `names`; `open` opens some of them.
///
/// # Errors
/// When files are missing or malformed, or the classes of the splits do not fit.
pub(crate) fn of_shards(
    names: &[String],
    config: &DataConfig,
    open: &dyn Fn(&[String]) -> Result<Files>,
) -> Result<Dataset> {
    let train = select(names, config.train.as_deref(), Split::Train)?;
    let test = select(names, config.test.as_deref(), Split::Test)?;
    let test = if test.is_empty() { None } else { Some(open(&test).context("test images")?) };
    of_files(open(&train).context("training images")?, test, config)
}

/// The dataset of two splits; the second may be missing.
///
/// # Errors
/// When their classes do not fit.
pub(crate) fn of_files(mut train: Files, mut test: Option<Files>, config: &DataConfig) -> Result<Dataset> {
    let classes = unite(&mut train, test.as_mut()).with_context(|| format!("data.dataset = \"{}\"", config.dataset))?;
    let pictures = |files: Files| Pictures::new(Arc::new(files), config.file_channels(), config);
    let nothing = Images { height: 1, width: 1, channels: config.file_channels(), data: vec![], labels: vec![] };
    Ok(Dataset {
        name: config.dataset.clone(),
        classes,
        train: pictures(train),
        test: test.map_or_else(|| nothing.into(), pictures),
    })
}
