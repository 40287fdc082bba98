//! What ties data and networks to the training loop, the same for every stage.
#![forbid(unsafe_code)]

mod held_out;
mod launch;
mod weights;

pub use held_out::{HeldOut, Seen};
pub use launch::{DEVICE, Launch, Plan, classifier_result, launch, maps, open};
pub use weights::{Checkpoint, used_parameters};

use anyhow::Result;
use candle_core::{Device, Tensor};
use simclr_core::rng::{Purpose, Rng};
use simclr_core::trainer::Batches;
use simclr_data::{Batch, Loader};
use simclr_ops::Value;
use std::sync::Arc;

/// The batches of a loader, as the training loop asks for them.
pub fn batches(loader: Loader) -> Batches<Batch> {
    Arc::new(move |step| loader.batch(step))
}

/// The images of a batch as a constant `[N, S, S, C]`.
///
/// # Errors
/// Never, for a batch of a loader.
pub fn images(batch: &Batch) -> Result<Value> {
    Ok(Value::constant(Tensor::from_slice(&batch.images, &batch.shape, &Device::Cpu)?))
}

/// The seed of what is repeated over label subsets; subset 0 has the experiment's own.
pub fn subset_seed(seed: u64, subset: usize) -> u64 {
    match subset {
        0 => seed,
        _ => Rng::stream(seed, Purpose::LabelSubset, &[u64::MAX, subset as u64]).next_u64(),
    }
}
