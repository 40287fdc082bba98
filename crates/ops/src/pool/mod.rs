//! Max and average pooling over windows.

mod cpu;
#[cfg(all(test, unix))]
mod emulated;
mod gpu;
#[cfg(test)]
mod tests;
mod window;

use crate::gpu::{Gpu, dispatch};
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};
use window::Window;

/// Which cells beyond the image a window may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolPadding {
    /// None: only whole windows.
    Valid,
    /// TensorFlow's SAME: `ceil(size / stride)` outputs, the odd cell of padding at the end. Padding never wins a
    /// maximum and does not count in an average.
    Same,
    /// `k / 2` cells at each side, as PyTorch's networks pad. Padding never wins a maximum and does not count in an average.
    Around,
    /// `k - 1` zero rows and columns at the end, before a VALID pool; they count in an average.
    ZerosAtEnd,
}

/// The window of a pooling of `x`.
fn window(x: &Value, k: usize, stride: usize, padding: PoolPadding) -> Result<Window> {
    let (_, h, w, c) = x.tensor().dims4()?;
    if k == 0 || stride == 0 {
        bail!("pooling: window {k} and stride {stride} must be at least 1")
    }
    let along = |size: usize| match padding {
        PoolPadding::Valid if size < k => bail!("pooling: a window of {k} does not fit an image of {h}x{w}"),
        PoolPadding::Valid => Ok(((size - k) / stride + 1, 0)),
        PoolPadding::Same => {
            let out = size.div_ceil(stride);
            Ok((out, ((out - 1) * stride + k).saturating_sub(size) / 2))
        }
        PoolPadding::Around if size + 2 * (k / 2) < k => {
            bail!("pooling: a window of {k} does not fit an image of {h}x{w}")
        }
        PoolPadding::Around => Ok(((size + 2 * (k / 2) - k) / stride + 1, k / 2)),
        PoolPadding::ZerosAtEnd => Ok(((size - 1) / stride + 1, 0)),
    };
    let ((oh, before_h), (ow, before_w)) = (along(h)?, along(w)?);
    Ok(Window { h, w, c, k, stride, before_h, before_w, oh, ow })
}

/// Max pooling of `[N, H, W, C]` to `[N, OH, OW, C]`; of equal maxima the first in reading order gets the gradient.
///
/// # Errors
/// When the window does not fit.
pub fn max_pool2d(tape: &Tape, x: &Value, k: usize, stride: usize, padding: PoolPadding) -> Result<Value> {
    if padding == PoolPadding::ZerosAtEnd {
        bail!("max_pool2d: zeros at the end are defined for averages only")
    }
    let (window, input, node) = (window(x, k, stride, padding)?, x.tensor().clone(), x.node());
    let Some(gpu) = Gpu::of(&input) else {
        let out = cpu::max(&window, &input)?;
        let saved = out.clone();
        return Ok(tape.record(&[x], out, move |dy, gradients| {
            gradients.add(node, cpu::max_gradient(&window, &input, &saved, &dy)?)
        }));
    };
    let (out, places) = gpu::max(&gpu, &window, &input, tape.tracks(&[x]))?;
    Ok(tape.record(&[x], out, move |dy, gradients| match &places {
        Some(places) => gradients.add(node, gpu::max_gradient(&gpu, &window, places, &dy)?),
        None => bail!("max_pool2d: its forward ran on a tape that tracks nothing"),
    }))
}

/// Average pooling of `[N, H, W, C]` to `[N, OH, OW, C]`; what padding counts is told by [`PoolPadding`].
///
/// # Errors
/// When the window does not fit.
pub fn avg_pool2d(tape: &Tape, x: &Value, k: usize, stride: usize, padding: PoolPadding) -> Result<Value> {
    let (window, zeros, node) = (window(x, k, stride, padding)?, padding == PoolPadding::ZerosAtEnd, x.node());
    let out = dispatch!(x.tensor() => average(&window, zeros, x.tensor()))?;
    Ok(tape.record(&[x], out, move |dy, gradients| {
        let dx = dispatch!(&dy => average_gradient(&window, zeros, &dy))?;
        gradients.add(node, dx)
    }))
}
