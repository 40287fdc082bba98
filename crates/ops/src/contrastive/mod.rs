//! The contrastive loss NT-Xent (Chen et al. 2020, equation 1).

mod cpu;
#[cfg(all(test, unix))]
pub(crate) mod emulated;
mod gpu;
#[cfg(test)]
mod tests;

use crate::gpu::dispatch;
use crate::loss::scalar;
use crate::metrics::accuracy;
use crate::tape::{Tape, Value};
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
    /// Those similarities over the temperature, `[B, B]`: first views by second views.
    pub logits_ab: Tensor,
}

/// The contrastive loss over `hidden` f32 `[2B, D]`: rows `0..B` are first views, `B..2B` second views of the same images,
/// summed as the authors' code does it. Rows are scaled to unit length when `normalize`.
///
/// # Errors
/// When the number of rows is odd or below 4.
pub fn nt_xent(tape: &Tape, hidden: &Value, temperature: f64, normalize: bool) -> Result<NtXent> {
    let (rows, _) = hidden.tensor().dims2()?;
    if rows % 2 != 0 || rows < 4 {
        bail!("nt_xent: {rows} rows; needs two views of at least two images")
    }
    let (found, entropy, logits_ab) = dispatch!(hidden.tensor() => nt_xent(hidden.tensor(), temperature, normalize))?;
    // How often a view's own partner is the most similar: row `i` of `[B, B]` looks for column `i`.
    let own: Vec<_> = (0..logits_ab.dim(0)? as u32).map(Some).collect();
    let accuracy = accuracy(&logits_ab, &own, 1)?;
    Ok(NtXent { loss: scalar(tape, hidden, found), accuracy, entropy, logits_ab })
}
