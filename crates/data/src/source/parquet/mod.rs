//! The dataset `parquet`: pictures embedded in parquet files of a folder or of the Hugging Face hub.

#[cfg(not(feature = "parquet"))]
mod absent;
#[cfg(feature = "parquet")]
mod read;
#[cfg(feature = "parquet")]
pub mod write;

#[cfg(not(feature = "parquet"))]
pub(crate) use absent::open;
#[cfg(feature = "parquet")]
pub(crate) use read::open;
#[cfg(feature = "parquet")]
pub use read::parse_class_names;

use super::dataset::{Count, Dataset, DatasetInfo, OWN_IMAGES};
use super::hub::Hub;
use super::{locate, splits};
use anyhow::Result;
use simclr_core::config::DataConfig;

/// Files as the Hugging Face hub has them; estimates take the size of ImageNet.
pub const DATASET: DatasetInfo = DatasetInfo {
    name: "parquet",
    title: OWN_IMAGES,
    about: "pictures in parquet files, as the Hugging Face hub has them: data.dir, or data.hub = \"OWNER/NAME\"",
    citation: None,
    train: Count::OF_FILES_TRAIN,
    test: Count::OF_FILES_TEST,
    classes: None,
    hub: None,
    of_files: true,
    open: load,
};

fn load(config: &DataConfig) -> Result<Dataset> {
    match &config.hub {
        Some(id) => {
            let hub = Hub::new(id)?;
            splits::of_shards(&hub.list()?, config, &|names| open(hub.fetch(names)?, config))
        }
        None => {
            let dir = locate::folder(config)?;
            let open = |names: &[String]| open(names.iter().map(|name| dir.join(name)).collect(), config);
            splits::of_shards(&locate::list(dir, "parquet")?, config, &open)
        }
    }
}
