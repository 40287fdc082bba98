//! Run folders and the checkpoints that stages hand on.

pub mod best;
pub mod checkpoint;
mod extend;
mod finished;
mod folder;
pub mod layout;
mod lock;
mod manifest;
mod metrics;
pub mod states;
mod tensorboard;
mod together;

pub use best::Best;
pub use extend::Extend;
pub use folder::{NUMERICS, Opened, Run, RunOptions};
pub use tensorboard::EventWriter;

#[cfg(test)]
pub(crate) use folder::tests as folder_tests;
