//! The contrastive loss against keys that have no gradient: those of the batch, and a queue of older ones (MoCo, He et al. 2020).

mod cpu;
#[cfg(all(test, unix))]
mod emulated;
mod gpu;
#[cfg(test)]
mod tests;

use crate::gpu::dispatch;
use crate::loss::scalar;
use crate::metrics::accuracy;
use crate::tape::{Tape, Value};
use candle_core::{Result, Tensor, bail};

/// The contrast with keys on the tape, and what is reported beside it.
pub struct KeyContrast {
    /// Averaged over this rank's rows: over both views of its images.
    pub loss: Value,
    /// Share of first views for which the key of their own second view is the most similar of those of all second views: a scalar.
    pub accuracy: Tensor,
    /// Mean entropy of the softmax over those similarities: a scalar.
    pub entropy: Tensor,
}

/// Rows `[R, D]` at unit length. No gradient flows through it.
///
/// # Errors
/// When `x` is no contiguous f32 matrix.
pub fn unit_rows(x: &Tensor) -> Result<Tensor> {
    dispatch!(x => unit_rows(x))
}

/// The cross entropy, over the temperature, of the cosines of queries with keys. `hidden` f32 `[2B, D]`: rows `0..B` are first views,
/// `B..2B` second views of the same images, of any length. `keys` `[2B, D]` and `queue` `[K, D]` have rows of unit length ([`unit_rows`]),
/// `keys` in the order of `hidden`. The right answer of a row is the key of the other view of its image; the wrong ones are
/// the keys of all other images and the whole queue. The key of its own view is none of them.
///
/// Where the tape is of one of several ranks, `hidden` has the rank's own images, and `keys` those of all ranks, as
/// [`Tape::of_all_ranks`] gives them. No gradient flows to the keys, and so none from one rank to another.
///
/// # Errors
/// When shapes do not fit one another, or there is nothing to tell the right answer from.
pub fn contrast_keys(
    tape: &Tape,
    hidden: &Value,
    keys: &Tensor,
    queue: Option<&Tensor>,
    temperature: f64,
) -> Result<KeyContrast> {
    let (rows, d) = hidden.tensor().dims2()?;
    if rows % 2 != 0 || rows == 0 {
        bail!("contrast_keys: {rows} rows are no two views of images")
    }
    let counts = tape.images(rows / 2)?;
    let rank = tape.group().rank();
    let (first, images): (usize, usize) = (counts[..rank].iter().sum(), counts.iter().sum());
    if keys.dims() != [2 * images, d]
        || queue.is_some_and(|q| q.dims().len() != 2 || q.dims()[1] != d || q.dims()[0] == 0)
    {
        let queue = queue.map(Tensor::shape);
        bail!("contrast_keys: keys {:?} and queue {queue:?} for {images} images of {d}", keys.shape())
    }
    if images == 1 && queue.is_none() {
        bail!("contrast_keys: one image and no queue; needs a key of another image")
    }
    let own = first..first + counts[rank];
    let (found, entropy, logits_ab) =
        dispatch!(hidden.tensor() => contrast_keys(hidden.tensor(), keys, queue, own.clone(), temperature))?;
    let partners: Vec<_> = own.map(|image| Some(image as u32)).collect();
    let accuracy = accuracy(&logits_ab, &partners, 1)?;
    Ok(KeyContrast { loss: scalar(tape, hidden, found), accuracy, entropy })
}
