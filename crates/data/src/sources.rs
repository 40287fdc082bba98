//! Where datasets come from: rendered, read from files, or downloaded.

pub mod below;
pub mod cifar;
pub mod fashion;
pub(crate) mod folder;
#[cfg(all(feature = "hub", feature = "parquet"))]
mod hub;
#[cfg(not(all(feature = "hub", feature = "parquet")))]
#[path = "sources/no_hub.rs"]
mod hub;
pub mod idx;
#[cfg(not(feature = "parquet"))]
#[path = "sources/no_parquet.rs"]
pub mod parquet;
#[cfg(feature = "parquet")]
pub mod parquet;
mod patterns;
pub mod shards;
pub(crate) mod splits;
pub mod stl10;
pub mod tar;
pub mod textures;
