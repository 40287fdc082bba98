//! Run folders and the checkpoints that stages hand on.

pub mod best;
pub mod checkpoint;
mod extend;
mod folder;
pub mod layout;
mod manifest;
mod tensorboard;
mod together;

pub use best::Best;
pub use extend::Extend;
pub use folder::{NUMERICS, Opened, Run, RunOptions};
pub use tensorboard::EventWriter;

#[cfg(test)]
pub(crate) use folder::tests as folder_tests;
