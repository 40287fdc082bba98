//! Where datasets come from: rendered, read from files, or downloaded.

pub mod cifar;
pub mod fashion;
mod hub;
mod idx;
mod patterns;
pub mod textures;
