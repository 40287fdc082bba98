//! Parts of a contrastive batch joined view by view.

mod cpu;
mod gpu;
#[cfg(test)]
mod tests;

use crate::gpu::{Gpu, dispatch};
use crate::tape::{Tape, Value};
use candle_core::{Result, Tensor, bail};

/// Rows of several parts of a batch, each all first views and then all second views of its images, as those of the
/// whole batch in that order: `[2n, D]` each to `[2B, D]`.
///
/// # Errors
/// When there is no part, widths differ, a part's rows do not pair up, or parts are not all on one device.
pub fn join_views(tape: &Tape, parts: &[Value]) -> Result<Value> {
    let d = parts.first().map_or(Ok(0), |p| p.tensor().dim(1))?;
    // Of each part: its node, its first image among all, and how many images it has.
    let mut places = Vec::with_capacity(parts.len());
    let mut images = 0;
    for part in parts {
        match part.tensor().dims2()? {
            (rows, width) if rows % 2 == 0 && width == d => places.push((part.node(), images, rows / 2)),
            (rows, width) => bail!("join_views: a part of {rows} rows of {width}, beside one of {d} columns"),
        }
        images += part.tensor().dim(0)? / 2;
    }
    if images == 0 {
        bail!("join_views: no rows")
    }
    let inputs: Vec<&Value> = parts.iter().collect();
    let tensors: Vec<&Tensor> = parts.iter().map(Value::tensor).collect();
    let whole = match tensors.iter().find_map(|t| Gpu::of(t)) {
        None => cpu::join(&tensors, (images, d)),
        Some(gpu) => gpu::join(&gpu, &tensors),
    }?;
    Ok(tape.record(&inputs, whole, move |dy, gradients| {
        for (node, first, n) in places {
            gradients.add(node, dispatch!(&dy => part(&dy, images, (first, n)))?)?;
        }
        Ok(())
    }))
}
