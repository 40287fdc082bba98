//! Where datasets come from: rendered, read from files, or downloaded.

pub mod below;
pub mod cifar;
pub mod fashion;
pub(crate) mod folder;
mod hub;
pub mod idx;
mod patterns;
pub(crate) mod splits;
pub mod stl10;
pub mod textures;
