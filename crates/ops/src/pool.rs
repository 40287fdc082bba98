//! Max, average and global average pooling.

use crate::cpu::channels::Columns;
use crate::cpu::pool::Window;
use crate::cpu::wide::{self, Element, Kernel, Wide, wide};
use crate::cpu::{by_element, filled, from_vec, with_elements, with_slice};
use crate::tape::{Tape, Value};
use candle_core::{DType, Result, Tensor, bail};
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

pub(crate) fn window(x: &Value, k: usize, stride: usize, padding: PoolPadding) -> Result<(usize, Window)> {
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
    on_gpu!(x.tensor(), crate::cuda::tape::max_pool2d(tape, x, n, window));
    let shape = (n, window.oh, window.ow, window.c);
    let out = by_element!(x.tensor(), T => with_elements::<T, _>(x.tensor(), |x| from_vec(window.max(x), shape)))?;
    let (saved_x, saved_y, node) = (x.tensor().clone(), out.clone(), x.node());
    Ok(tape.record(&[x], out, move |dy, gradients| {
        let dx = by_element!(dy, T => with_elements::<T, _>(&saved_x, |x| {
            with_elements(&saved_y, |y| {
                with_elements(&dy, |dy| from_vec(window.max_gradient(x, y, dy), saved_x.shape()))
            })
        }))?;
        gradients.add(node, dx)
    }))
}

/// Average pooling of `[N, H, W, C]`; what padding counts is told by [`PoolPadding`].
///
/// # Errors
/// When the window does not fit.
pub fn avg_pool2d(tape: &Tape, x: &Value, k: usize, stride: usize, padding: PoolPadding) -> Result<Value> {
    let (n, window) = window(x, k, stride, padding)?;
    let zeros = padding == PoolPadding::ZerosAtEnd;
    on_gpu!(x.tensor(), crate::cuda::tape::avg_pool2d(tape, x, n, window, zeros));
    let out = (n, window.oh, window.ow, window.c);
    let out = by_element!(x.tensor(), T => {
        with_elements::<T, _>(x.tensor(), |x| from_vec(window.average(x, zeros), out))
    })?;
    let (shape, node) = (x.tensor().shape().clone(), x.node());
    Ok(tape.record(&[x], out, move |dy, gradients| {
        let dx = by_element!(dy, T => {
            with_elements::<T, _>(&dy, |dy| from_vec(window.average_gradient(dy, zeros), shape))
        })?;
        gradients.add(node, dx)
    }))
}

/// The mean over height and width: `[N, H, W, C]` to f32 `[N, C]`.
///
/// # Errors
/// When `x` has not four dimensions.
pub fn global_avg_pool(tape: &Tape, x: &Value) -> Result<Value> {
    let (n, h, w, c) = x.tensor().dims4()?;
    on_gpu!(x.tensor(), {
        let streams = crate::cuda::pool::Streams { n, pixels: h * w, f: c, streams: 1 };
        crate::cuda::tape::pixel_mean(tape, x, streams)
    });
    let out = by_element!(x.tensor(), T => with_elements::<T, _>(x.tensor(), |x| Ok(means(x, (n, h * w, c)))))?;
    let (node, dtype) = (x.node(), x.tensor().dtype());
    Ok(tape.record(&[x], from_vec(out, (n, c))?, move |dy, gradients| {
        let share = 1.0 / (h * w) as f32;
        let dx = with_slice(&dy, |dy| {
            let row = |i: usize| dy[i * c..][..c].iter().map(|g| g * share).collect();
            spread(dtype, (n, h * w, c), row)?.reshape((n, h, w, c))
        })?;
        gradients.add(node, dx)
    }))
}

/// The mean over the pixels of each image: `[N, P, C]` to `[N, C]`.
pub(crate) fn means<T: Element>(x: &[T], (n, p, c): (usize, usize, usize)) -> Vec<f32> {
    filled(n * c, |out| {
        out.par_chunks_mut(c).zip(x.par_chunks(p * c)).for_each(|(out, x)| {
            let columns = Columns::new(c);
            let mut sums = vec![0.0; columns.period];
            wide(Sums(x, &mut sums));
            out.iter_mut().zip(columns.fold(&sums)).for_each(|(o, s)| *o = s / p as f32);
        })
    })
}

struct Sums<'a, T>(&'a [T], &'a mut [f32]);

impl<T: Element> Kernel for Sums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let period = self.1.len();
        wide::sums::<S, T, 1, 1>(
            [self.0],
            period,
            [self.1],
            #[inline(always)]
            |_, [x]| [x],
        );
    }
}

/// Every pixel of image `i` the same: `[N, P, C]` of `row(i)`.
pub(crate) fn spread(
    dtype: DType,
    (n, p, c): (usize, usize, usize),
    row: impl Fn(usize) -> Vec<f32> + Sync,
) -> Result<Tensor> {
    fn fill<T: Element>(n: usize, size: usize, row: impl Fn(usize) -> Vec<f32> + Sync) -> Vec<T> {
        filled(n * size, |out| {
            out.par_chunks_mut(size).enumerate().for_each(|(i, out)| {
                let row: Vec<T> = row(i).into_iter().map(T::of_f32).collect();
                out.chunks_exact_mut(row.len()).for_each(|out| out.copy_from_slice(&row));
            })
        })
    }
    match dtype {
        DType::BF16 => from_vec(fill::<half::bf16>(n, p * c, row), (n, p, c)),
        _ => from_vec(fill::<f32>(n, p * c, row), (n, p, c)),
    }
}
