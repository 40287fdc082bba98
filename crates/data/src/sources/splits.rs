//! Datasets of picture files: where their splits lie.

use crate::dataset::Dataset;
use crate::files::{Files, unite};
use crate::pictures::Pictures;
use crate::sources::hub::Hub;
use crate::sources::shards::{self, Split};
use crate::sources::{folder, parquet, tar};
use anyhow::{Context, Result, bail, ensure};
use simclr_core::config::DataConfig;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Folders that hold what accuracy is measured on, where `data.test` names none.
const TEST_FOLDERS: [&str; 3] = ["val", "validation", "test"];

/// Opens `folder`, `tar` or `parquet`.
///
/// # Errors
/// When files are missing or malformed, or the classes of the splits do not fit.
pub(crate) fn load(config: &DataConfig) -> Result<Dataset> {
    let (mut train, mut test) = match config.dataset.as_str() {
        "folder" => folders(dir(config)?, config)?,
        "tar" => {
            let dir = dir(config)?;
            let names = shards::list(dir, "tar")?;
            shard_files(&names, config, &|names| tar::open(names.iter().map(|name| dir.join(name)).collect()))?
        }
        "parquet" => match &config.hub {
            Some(id) => {
                let hub = Hub::new(id)?;
                shard_files(&hub.list()?, config, &|names| parquet::open(hub.fetch(names)?, config))?
            }
            None => {
                let dir = dir(config)?;
                let names = shards::list(dir, "parquet")?;
                let open = |names: &[String]| parquet::open(names.iter().map(|name| dir.join(name)).collect(), config);
                shard_files(&names, config, &open)?
            }
        },
        other => bail!("data.dataset = \"{other}\" is not made of files"),
    };
    let classes = unite(&mut train, test.as_mut()).with_context(|| format!("data.dataset = \"{}\"", config.dataset))?;
    let pictures = |files: Files| Pictures::new(Arc::new(files), config.channels, config);
    let nothing = crate::Images { height: 1, width: 1, channels: config.channels, data: vec![], labels: vec![] };
    Ok(Dataset {
        name: config.dataset.clone(),
        classes,
        train: pictures(train),
        test: test.map_or_else(|| nothing.into(), pictures),
    })
}

fn dir(config: &DataConfig) -> Result<&Path> {
    let name = &config.dataset;
    ensure!(config.hub.is_none(), "data.hub is for data.dataset = \"parquet\", not \"{name}\"");
    config.dir.as_deref().with_context(|| format!("data.dataset = \"{name}\" needs data.dir, the folder of its files"))
}

/// `train` and `val` (or `validation`, `test`) in `dir`; all of `dir` where there is no `train`.
fn folders(dir: &Path, config: &DataConfig) -> Result<(Files, Option<Files>)> {
    let usual = |name: &str| Some(dir.join(name)).filter(|path| path.is_dir());
    let train = match &config.train {
        Some(name) => Some(named("train", dir, name)?),
        None => usual("train"),
    };
    let test = match (&config.test, &train) {
        (Some(name), _) => Some(named("test", dir, name)?),
        (None, Some(_)) => TEST_FOLDERS.into_iter().find_map(usual),
        (None, None) => None,
    };
    let train = folder::open(train.as_deref().unwrap_or(dir)).context("training images")?;
    Ok((train, test.map(|path| folder::open(&path).context("test images")).transpose()?))
}

/// The files of each split among `names`.
fn shard_files(
    names: &[String],
    config: &DataConfig,
    open: &dyn Fn(&[String]) -> Result<Files>,
) -> Result<(Files, Option<Files>)> {
    let train = shards::select(names, config.train.as_deref(), Split::Train)?;
    let test = shards::select(names, config.test.as_deref(), Split::Test)?;
    let test = if test.is_empty() { None } else { Some(open(&test).context("test images")?) };
    Ok((open(&train).context("training images")?, test))
}

fn named(key: &str, dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    ensure!(path.is_dir(), "data.{key} = \"{name}\": {} is no folder", path.display());
    Ok(path)
}
