//! Datasets of small images, whole in memory.

pub mod cifar;
pub mod fashion;
mod from_hub;
pub mod idx;
mod in_memory;
pub mod textures;

pub use in_memory::InMemory;
