//! Gates over the pixels of images on the CPU.

use crate::mean::streams::Streams;
use crate::simd::{self, Element, Kernel, Wide, at, padded, wide};
use crate::tensor::access::{by_element, with_elements};
use crate::tensor::{filled, from_vec, with_slice};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// How far gates are open, `[N, F]`: the sigmoid of the logits, or of the difference of two streams, which is what a softmax
/// over two comes to.
///
/// # Errors
/// When the logits are no contiguous f32 tensor on the CPU.
pub fn open(logits: &Tensor, s: Streams) -> Result<Tensor> {
    let f = s.f;
    let open: Vec<f32> = with_slice(logits, |l| match s.streams {
        1 => Ok(l.iter().map(|l| sigmoid(*l)).collect()),
        _ => Ok(l.chunks_exact(2 * f).flat_map(|l| (0..f).map(|j| sigmoid(l[j] - l[f + j]))).collect()),
    })?;
    from_vec(open, (s.n, f))
}

/// Each pixel of `x` `[N, P, F]` times its image's gates.
///
/// # Errors
/// When `x` is not contiguous, or of another dtype.
pub fn scale(x: &Tensor, open: &Tensor, s: Streams) -> Result<Tensor> {
    with_slice(
        open,
        |open| by_element!(x, T => with_elements::<T, _>(x, |values| from_vec(scaled(values, open, s.n, s.f), x.shape()))),
    )
}

/// The gradient of the gates' logits, `[N, F]`.
///
/// # Errors
/// As [`scale`].
pub fn scale_gradient(x: &Tensor, dy: &Tensor, open: &Tensor, s: Streams) -> Result<Tensor> {
    let (c, size) = (s.f, s.pixels * s.f);
    let d_gate = by_element!(dy, T => with_elements::<T, _>(dy, |dy| with_elements(x, |x| with_slice(open, |open| {
        Ok(filled(s.n * c, |d_gate| {
            let rows = d_gate.par_chunks_mut(c).zip(x.par_chunks(size)).zip(dy.par_chunks(size));
            rows.enumerate().for_each(|(i, ((d, x), dy))| {
                d.fill(0.0);
                wide(Products { x, dy, sums: d, channels: c });
                d.iter_mut().zip(&open[i * c..]).for_each(|(d, a)| *d *= a * (1.0 - a));
            })
        }))
    }))))?;
    from_vec(d_gate, (s.n, c))
}

/// `a x[..F] + (1 - a) x[F..]` of this shape, `a` being how far the first stream's gate is open.
///
/// # Errors
/// As [`scale`].
pub fn select(x: &Tensor, open: &Tensor, s: Streams, shape: (usize, usize, usize, usize)) -> Result<Tensor> {
    let (f, size) = (s.f, s.pixels * s.f);
    by_element!(x, T => with_elements::<T, _>(x, |x| with_slice(open, |open| {
        let mixed = filled::<T>(s.n * size, |out| {
            let images = out.par_chunks_mut(size).zip(x.par_chunks(2 * size)).zip(open.par_chunks(f));
            images.for_each(|((out, x), a)| wide(Select { x, first: &padded(a), width: f, out }));
        });
        from_vec(mixed, shape)
    })))
}

/// The gradients of [`select`]: that of `x`, and that of the logits, `[N, 2F]`.
///
/// # Errors
/// As [`scale`].
pub fn select_gradient(x: &Tensor, dy: &Tensor, open: &Tensor, s: Streams) -> Result<[Tensor; 2]> {
    let (n, f, size) = (s.n, s.f, s.pixels * s.f);
    let mut d_logits = vec![0.0f32; n * 2 * f];
    let dx = by_element!(dy, T => with_elements::<T, _>(dy, |dy| with_elements(x, |values| with_slice(open, |open| {
        let dx = filled::<T>(2 * n * size, |dx| {
            let images = dx.par_chunks_mut(2 * size).zip(d_logits.par_chunks_mut(2 * f)).enumerate();
            images.for_each(|(i, (dx, dl))| {
                let (x, dy) = (&values[2 * i * size..][..2 * size], &dy[i * size..][..size]);
                let (a, mut sums) = (&open[i * f..][..f], vec![0.0f32; f]);
                wide(SelectGradient { x, dy, first: &padded(a), width: f, dx, sums: &mut sums });
                for j in 0..f {
                    dl[j] = sums[j] * a[j] * (1.0 - a[j]);
                    dl[f + j] = -dl[j];
                }
            })
        });
        from_vec(dx, x.shape())
    }))))?;
    Ok([dx, from_vec(d_logits, (n, 2 * f))?])
}

/// Each of `n` images times its own scale a channel.
fn scaled<T: Element>(x: &[T], scale: &[f32], n: usize, c: usize) -> Vec<T> {
    let size = x.len() / n;
    filled(x.len(), |out| {
        out.par_chunks_mut(size).zip(x.par_chunks(size)).zip(scale.par_chunks(c)).for_each(|((out, x), scale)| {
            wide(Scale { x, scale: &padded(scale), channels: c, out });
        })
    })
}

/// `x * scale`, one scale a channel; scales are padded to a whole vector.
struct Scale<'a, T> {
    x: &'a [T],
    scale: &'a [f32],
    channels: usize,
    out: &'a mut [T],
}

impl<T: Element> Kernel for Scale<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        for (out, x) in self.out.chunks_exact_mut(self.channels).zip(self.x.chunks_exact(self.channels)) {
            simd::map::<S, T, 1>(
                [x],
                out,
                self.channels,
                #[inline(always)]
                |column, [x]| x.times(at(self.scale, column)),
            );
        }
    }
}

/// Adds `sum over pixels of x * dy` to one sum a channel.
struct Products<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    sums: &'a mut [f32],
    channels: usize,
}

impl<T: Element> Kernel for Products<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        for (x, dy) in self.x.chunks_exact(self.channels).zip(self.dy.chunks_exact(self.channels)) {
            simd::sums::<S, T, 2, 1>(
                [x, dy],
                self.channels,
                [&mut *self.sums],
                #[inline(always)]
                |_, [x, g]| [x.times(g)],
            );
        }
    }
}

/// `a x[..F] + (1 - a) x[F..]` at each pixel; `first` is `a`, padded to a whole vector.
struct Select<'a, T> {
    x: &'a [T],
    first: &'a [f32],
    width: usize,
    out: &'a mut [T],
}

impl<T: Element> Kernel for Select<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let f = self.width;
        for (out, x) in self.out.chunks_exact_mut(f).zip(self.x.chunks_exact(2 * f)) {
            let (x0, x1) = x.split_at(f);
            simd::map::<S, T, 2>(
                [x0, x1],
                out,
                f,
                #[inline(always)]
                // a x0 + (1 - a) x1
                |column, [x0, x1]| at::<S>(self.first, column).times_plus(x0.minus(x1), x1),
            );
        }
    }
}

/// The gradients of [`Select`]: that of `x`, and `sum over pixels of dy (x[..F] - x[F..])` added to `sums`.
struct SelectGradient<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    first: &'a [f32],
    width: usize,
    dx: &'a mut [T],
    sums: &'a mut [f32],
}

impl<T: Element> Kernel for SelectGradient<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let (f, one) = (self.width, S::splat(1.0));
        let pixels = self.dx.chunks_exact_mut(2 * f).zip(self.x.chunks_exact(2 * f)).zip(self.dy.chunks_exact(f));
        for ((dx, x), dy) in pixels {
            let ((dx0, dx1), (x0, x1)) = (dx.split_at_mut(f), x.split_at(f));
            simd::map::<S, T, 1>(
                [dy],
                dx0,
                f,
                #[inline(always)]
                |column, [g]| g.times(at(self.first, column)),
            );
            simd::map::<S, T, 1>(
                [dy],
                dx1,
                f,
                #[inline(always)]
                |column, [g]| g.times(one.minus(at(self.first, column))),
            );
            simd::sums::<S, T, 3, 1>(
                [x0, x1, dy],
                f,
                [&mut *self.sums],
                #[inline(always)]
                |_, [x0, x1, g]| [g.times(x0.minus(x1))],
            );
        }
    }
}
