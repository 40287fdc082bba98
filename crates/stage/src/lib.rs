//! What ties data and networks to the training loop, the same for every stage.
//!
//! A stage opens its run ([`launch`]), its images ([`Setup`]) and, where it starts from one, a [`Checkpoint`]; what is its
//! own is the loss ([`StageLoss`]), which a [`Plan`] joins with network, batches and held-out images to a task of
//! `simclr_core::train`.
#![forbid(unsafe_code)]

mod checkpoint;
mod classes;
mod device_batch;
mod eval_set;
pub mod gathered;
mod launch;
mod plan;
mod room;
mod setup;

pub use checkpoint::{Checkpoint, used_parameters};
pub use classes::order_of;
pub use device_batch::{Arrived, DeviceBatch, device_batches, uploader};
pub use eval_set::{EvalSet, Seen};
pub use launch::{Launch, classifier_result, launch, open};
pub use plan::{Plan, StageLoss};
pub use setup::{Setup, map_dtype, subset_seed};
