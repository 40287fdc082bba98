//! Where datasets come from: rendered, read from files, or downloaded.

pub mod below;
pub mod cifar;
pub mod fashion;
pub(crate) mod folder;
mod hub;
pub mod idx;
pub mod parquet;
mod patterns;
pub mod shards;
pub(crate) mod splits;
pub mod stl10;
pub mod tar;
pub mod textures;
