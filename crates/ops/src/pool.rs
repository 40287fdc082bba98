//! Max, average and global average pooling.

use crate::cpu::pool::Window;
use crate::cpu::{filled, from_vec, vectorized, with_slice};
use crate::tape::{Tape, Value};
use candle_core::{Result, bail};
use rayon::prelude::*;

/// Which cells beyond the image a window may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolPadding {
    /// None: only whole windows.
    Valid,
    /// TensorFlow's SAME: `ceil(size / stride)` outputs, the odd cell of padding at the end. Padding never wins a
    /// maximum and does not count in an average.
    Same,
    /// `k - 1` zero rows and columns at the end, before a VALID pool; they count in an average.
    ZerosAtEnd,
}

fn window(x: &Value, k: usize, stride: usize, padding: PoolPadding) -> Result<(usize, Window)> {
    let (n, h, w, c) = x.tensor().dims4()?;
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
        PoolPadding::ZerosAtEnd => Ok(((size - 1) / stride + 1, 0)),
    };
    let ((oh, before_h), (ow, before_w)) = (along(h)?, along(w)?);
    Ok((n, Window { h, w, c, k, stride, before_h, before_w, oh, ow }))
}

/// Max pooling of `[N, H, W, C]`; of equal maxima the first in reading order gets the gradient.
///
/// # Errors
/// When the window does not fit.
pub fn max_pool2d(tape: &Tape, x: &Value, k: usize, stride: usize, padding: PoolPadding) -> Result<Value> {
    if padding == PoolPadding::ZerosAtEnd {
        bail!("max_pool2d: zeros at the end are defined for averages only")
    }
    let (n, window) = window(x, k, stride, padding)?;
    let out = from_vec(with_slice(x.tensor(), |x| Ok(window.max(x)))?, (n, window.oh, window.ow, window.c))?;
    let (saved_x, saved_y, node) = (x.tensor().clone(), out.clone(), x.node());
    Ok(tape.record(&[x], out, move |dy, gradients| {
        let dx = with_slice(&saved_x, |x| {
            with_slice(&saved_y, |y| with_slice(&dy, |dy| Ok(window.max_gradient(x, y, dy))))
        })?;
        gradients.add(node, from_vec(dx, saved_x.shape())?)
    }))
}

/// Average pooling of `[N, H, W, C]`; what padding counts is told by [`PoolPadding`].
///
/// # Errors
/// When the window does not fit.
pub fn avg_pool2d(tape: &Tape, x: &Value, k: usize, stride: usize, padding: PoolPadding) -> Result<Value> {
    let (n, window) = window(x, k, stride, padding)?;
    let zeros = padding == PoolPadding::ZerosAtEnd;
    let out = with_slice(x.tensor(), |x| Ok(window.average(x, zeros)))?;
    let out = from_vec(out, (n, window.oh, window.ow, window.c))?;
    let (shape, node) = (x.tensor().shape().clone(), x.node());
    Ok(tape.record(&[x], out, move |dy, gradients| {
        let dx = with_slice(&dy, |dy| Ok(window.average_gradient(dy, zeros)))?;
        gradients.add(node, from_vec(dx, shape)?)
    }))
}

/// The mean over height and width: `[N, H, W, C]` to `[N, C]`.
///
/// # Errors
/// When `x` has not four dimensions.
pub fn global_avg_pool(tape: &Tape, x: &Value) -> Result<Value> {
    let (n, h, w, c) = x.tensor().dims4()?;
    let share = 1.0 / (h * w) as f32;
    let out = with_slice(x.tensor(), |x| {
        Ok(filled(n * c, |out| {
            out.par_chunks_mut(c).zip(x.par_chunks(h * w * c)).for_each(|(out, x)| {
                vectorized(
                    #[inline(always)]
                    || {
                        out.fill(0.0);
                        x.chunks_exact(c).for_each(|x| out.iter_mut().zip(x).for_each(|(o, x)| *o += x));
                        out.iter_mut().for_each(|o| *o *= share);
                    },
                )
            })
        }))
    })?;
    let node = x.node();
    Ok(tape.record(&[x], from_vec(out, (n, c))?, move |dy, gradients| {
        let dx = with_slice(&dy, |dy| {
            Ok(filled(n * h * w * c, |dx| {
                dx.par_chunks_mut(h * w * c).zip(dy.par_chunks(c)).for_each(|(dx, dy)| {
                    let row: Vec<f32> = dy.iter().map(|g| g * share).collect();
                    dx.chunks_exact_mut(c).for_each(|dx| dx.copy_from_slice(&row));
                })
            }))
        })?;
        gradients.add(node, from_vec(dx, (n, h, w, c))?)
    }))
}
