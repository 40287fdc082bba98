//! The datasets: one table, and a file for each that says what it is and how it is opened.
//!
//! To add one: a file with a `pub const DATASET: DatasetInfo`, and its line here (or in [`memory`], for small images that
//! are kept whole in memory).

mod classes;
mod dataset;
mod files;
pub mod folder;
pub mod found;
mod held_out;
mod hub;
pub mod locate;
pub mod memory;
pub mod parquet;
mod read_at;
mod split_names;
mod splits;
pub mod stl10;
mod table;
pub mod tar;
pub mod walk;

pub use dataset::{Count, Dataset, DatasetInfo};
pub use found::Found;

use anyhow::{Result, bail, ensure};
use simclr_core::config::DataConfig;

/// Datasets of files; the table is these and [`memory::DATASETS`].
static OF_FILES: &[&DatasetInfo] = &[&stl10::DATASET, &folder::DATASET, &tar::DATASET, &parquet::DATASET];

/// The table: what `data.dataset` may be.
pub fn datasets() -> impl Iterator<Item = &'static DatasetInfo> {
    memory::DATASETS.iter().chain(OF_FILES).copied()
}

/// The dataset of that name, where there is one.
pub fn named(name: &str) -> Option<&'static DatasetInfo> {
    datasets().find(|info| info.name == name)
}

/// The dataset that the configuration names.
///
/// # Errors
/// When there is none of that name (the message lists them), or a key of the table means nothing to it.
pub fn find(config: &DataConfig) -> Result<&'static DatasetInfo> {
    match named(&config.dataset) {
        Some(info) => info.check(config).map(|()| info),
        None => {
            let names: Vec<&str> = datasets().map(|info| info.name).collect();
            bail!("data.dataset = \"{}\": must be one of {}", config.dataset, names.join(", "))
        }
    }
}

/// What people call the images of a run: the dataset's title, or its place on the hub where one was named.
pub fn title<'a>(name: &'a str, hub: Option<&'a str>) -> &'a str {
    hub.unwrap_or_else(|| named(name).map_or(name, |info| info.title))
}

/// The table as text for `--help`: a line a dataset.
pub fn help() -> String {
    let line = |info: &DatasetInfo| format!("  {:<14} {}\n", info.name, info.about);
    format!("data.dataset is one of\n{}", datasets().map(line).collect::<String>())
}

/// Opens the dataset that the configuration names, with `data.limit` applied to the training split: of files, or where images
/// are sorted by class, a random choice of all classes, else the first ones. What was found is said in the log.
///
/// # Errors
/// As [`find`], or when files are missing or malformed; the message says what to do.
pub fn load(config: &DataConfig) -> Result<Dataset> {
    let info = find(config)?;
    ensure!(config.limit != Some(0), "data.limit = 0: must be at least 1; leave it out to use all images");
    let mut dataset = (info.open)(config)?;
    dataset.found.log();
    if let Some(limit) = config.limit {
        match info.of_files || dataset.train.is_sorted_by_class() {
            true => dataset.train.limit(limit, dataset.classes.len()),
            false => dataset.train.truncate(limit),
        }
    }
    Ok(dataset)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(dataset: &str, limit: Option<usize>) -> DataConfig {
        DataConfig { limit, ..DataConfig::new(dataset, 32) }
    }

    #[test]
    fn names_and_limits() {
        let message = load(&config("cifar-10", None)).err().unwrap().to_string();
        assert!(message.starts_with("data.dataset = \"cifar-10\": must be one of textures, "), "{message}");
        assert!(load(&config("textures", Some(0))).is_err());
        let data = load(&config("textures", Some(25))).unwrap();
        assert_eq!((data.train.len(), data.train.channels(), data.test.len()), (25, 3, 2000));
        assert!(data.train.get(24).is_ok() && data.train.get(25).is_err());
    }

    #[test]
    fn keys_of_files_do_not_stand_without_effect() {
        let config = DataConfig { train: Some("train".into()), ..DataConfig::new("textures", 32) };
        let message = load(&config).err().unwrap().to_string();
        assert!(message.contains("data.train is for files") && message.contains("\"textures\""), "{message}");
    }

    #[test]
    fn the_table_tells_the_truth() {
        let data = load(&config("textures", None)).unwrap();
        let info = find(&config("textures", None)).unwrap();
        assert_eq!((info.train, info.test), (Count::Exactly(data.train.len()), Count::Exactly(data.test.len())));
        assert_eq!((info.name, info.classes), (data.name.as_str(), Some(data.classes.len())));
        for info in datasets() {
            assert_eq!(datasets().filter(|other| other.name == info.name).count(), 1, "{}", info.name);
            assert!(help().contains(&format!("\n  {} ", info.name)), "{} in\n{}", info.name, help());
        }
    }
}
