//! Means over the pixels of an image: global average pooling, and that of the two streams of a selective kernel.

mod cpu;
#[cfg(all(test, unix))]
mod emulated;
mod gpu;
pub(crate) mod streams;
#[cfg(test)]
mod tests;

use crate::gpu::dispatch;
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};
use streams::Streams;

/// The mean over height and width: `[N, H, W, C]` to f32 `[N, C]`.
///
/// # Errors
/// When `x` has not four dimensions.
pub fn global_avg_pool(tape: &Tape, x: &Value) -> Result<Value> {
    let (n, h, w, f) = x.tensor().dims4()?;
    mean(tape, x, Streams { n, pixels: h * w, f, streams: 1 })
}

/// The two streams added and averaged over the image: `[N, H, W, 2F]` to f32 `[N, F]` (Li et al. 2019, equations 1 and 2).
///
/// # Errors
/// When `x` has an odd number of channels.
pub fn stream_mean(tape: &Tape, x: &Value) -> Result<Value> {
    let (n, h, w, c) = x.tensor().dims4()?;
    if c % 2 != 0 {
        bail!("selective kernel: {c} channels do not split into two streams")
    }
    mean(tape, x, Streams { n, pixels: h * w, f: c / 2, streams: 2 })
}

fn mean(tape: &Tape, x: &Value, s: Streams) -> Result<Value> {
    let (shape, dtype, node) = (x.tensor().shape().clone(), x.tensor().dtype(), x.node());
    let out = dispatch!(x.tensor() => mean(x.tensor(), s))?;
    Ok(tape.record(&[x], out, move |dy, gradients| {
        let dx = dispatch!(&dy => mean_gradient(&dy, s, (&shape, dtype)))?;
        gradients.add(node, dx)
    }))
}
