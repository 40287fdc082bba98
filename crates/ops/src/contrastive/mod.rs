//! The contrastive loss NT-Xent (Chen et al. 2020, equation 1).

pub(crate) mod cpu;
#[cfg(all(test, unix))]
pub(crate) mod emulated;
pub(crate) mod gpu;
#[cfg(test)]
mod tests;

use crate::gpu::dispatch;
use crate::loss::scalar;
use crate::metrics::accuracy;
use crate::tape::{Tape, Value};
use crate::tensor::scale_by;
use candle_core::{Result, Tensor, bail};

pub use cpu::{Share, nt_xent_share};

/// NT-Xent on the tape, and what is reported beside it.
pub struct NtXent {
    /// The two directions summed, averaged over the batch.
    pub loss: Value,
    /// Share of first views whose own second view is the most similar of all second views: a scalar.
    pub accuracy: Tensor,
    /// Mean entropy of the softmax over those similarities: a scalar.
    pub entropy: Tensor,
    /// Those similarities over the temperature, `[B, B]`: first views (of this rank) by second views (of all).
    pub logits_ab: Tensor,
}

/// The contrastive loss over `hidden` f32 `[2B, D]`: rows `0..B` are first views, `B..2B` second views of the same images,
/// summed as the authors' code does it. Rows are scaled to unit length when `normalize`.
///
/// Where the tape is of one of several ranks, these are the rank's own images, and each row is held against those of all ranks.
/// The loss is then the average over the rank's images.
///
/// # Errors
/// When the number of rows is odd, or below 4 in all.
pub fn nt_xent(tape: &Tape, hidden: &Value, temperature: f64, normalize: bool) -> Result<NtXent> {
    let (rows, _) = hidden.tensor().dims2()?;
    if rows % 2 != 0 || rows < 2 {
        bail!("nt_xent: {rows} rows; needs two views of at least two images")
    }
    let counts = tape.images(rows / 2)?;
    let group = tape.group();
    let first: usize = counts[..group.rank()].iter().sum();
    let own = first..first + counts[group.rank()];
    let all = tape.of_all_ranks(hidden.tensor(), 2)?;
    let ([loss, gradient], entropy, logits_ab) =
        dispatch!(hidden.tensor() => nt_xent(&all, own.clone(), temperature, normalize))?;
    // How often a view's own partner is the most similar: row `i` looks for the column of its image.
    let partners: Vec<_> = own.clone().map(|image| Some(image as u32)).collect();
    let accuracy = accuracy(&logits_ab, &partners, 1)?;
    if group.is_alone() {
        return Ok(NtXent { loss: scalar(tape, hidden, [loss, gradient]), accuracy, entropy, logits_ab });
    }
    let (node, group) = (hidden.node(), group.clone());
    let loss = tape.record(&[hidden], loss, move |dy, gradients| {
        scale_by(&gradient, &dy)?;
        // Rows of this rank are negatives, and one of them the positive, of rows on the others.
        group.all_reduce(&gradient)?;
        let views = [own.start, gradient.dim(0)? / 2 + own.start].map(|row| gradient.narrow(0, row, own.len()));
        let [first, second] = views;
        gradients.add(node, Tensor::cat(&[first?, second?], 0)?)
    });
    Ok(NtXent { loss, accuracy, entropy, logits_ab })
}
