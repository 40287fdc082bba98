//! What ties data and networks to the training loop, the same for every stage.
#![forbid(unsafe_code)]

mod held_out;
mod launch;
mod weights;

pub use held_out::{HeldOut, Seen};
pub use launch::{DEVICE, Launch, Plan, classifier_result, launch, maps, open};
pub use weights::{Checkpoint, used_parameters};

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use simclr_core::checkpoint::file_sha256;
use simclr_core::config::Config;
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

/// The list of labeled images for a label fraction, where the experiment has one, as an input of a run.
///
/// # Errors
/// When the file cannot be read.
pub fn label_list(config: &Config, fraction: f64) -> Result<Option<(String, String)>> {
    let Some(list) = config.data.list(fraction) else { return Ok(None) };
    let hash = file_sha256(&list.file).context("data.lists")?;
    Ok(Some(("label list".into(), hash)))
}

/// The seed of what is repeated over label subsets; subset 0 has the experiment's own.
pub fn subset_seed(seed: u64, subset: usize) -> u64 {
    match subset {
        0 => seed,
        _ => Rng::stream(seed, Purpose::LabelSubset, &[u64::MAX, subset as u64]).next_u64(),
    }
}
