//! Datasets of small images, whole in memory.
//!
//! To add one: a file with a `pub const DATASET: DatasetInfo`, and its line here.

pub mod cifar;
pub mod fashion;
mod from_hub;
pub mod idx;
mod in_memory;
pub mod textures;

pub use in_memory::InMemory;
pub(super) use in_memory::channels;

use super::dataset::DatasetInfo;

/// These datasets.
pub static DATASETS: &[&DatasetInfo] =
    &[&textures::DATASET, &fashion::DATASET, &idx::DATASET, &cifar::CIFAR10, &cifar::CIFAR100];
