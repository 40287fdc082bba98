//! Labels beside logits.

use candle_core::{Result, Tensor, bail};

/// Checks labels against logits `[R, D]`; gives `D`.
///
/// # Errors
/// When there is not one label a row, or a label is not below `D`.
pub fn check_labels(what: &str, logits: &Tensor, labels: &[Option<u32>]) -> Result<usize> {
    let (r, d) = logits.dims2()?;
    if labels.len() != r {
        bail!("{what}: {} labels for {r} rows", labels.len())
    }
    match labels.iter().flatten().find(|l| **l as usize >= d) {
        Some(bad) => bail!("{what}: label {bad} for {d} classes"),
        None => Ok(d),
    }
}
