//! Pooling windows over `[N, H, W, C]` on the CPU, one task an image.

use super::window::Window;
use crate::simd::{self, Element, Kernel, Wide, wide};
use crate::tensor::access::{by_element, with_elements};
use crate::tensor::{filled, from_vec};
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// `f` of each image's number and room for its result of `len` elements.
fn each_image<T: Element>(images: usize, len: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    filled(images * len, |out| out.par_chunks_mut(len).enumerate().for_each(|(i, out)| f(i, out)))
}

/// The maximum over each window, `[N, OH, OW, C]`; padding never wins.
///
/// # Errors
/// When `x` is not contiguous, or of another dtype.
pub fn max(window: &Window, x: &Tensor) -> Result<Tensor> {
    let (size, out) = window.sizes();
    let n = x.elem_count() / size;
    by_element!(x, T => with_elements::<T, _>(x, |x| {
        let out = each_image(n, out, |i, out| wide(Max(window, &x[i * size..][..size], out)));
        from_vec(out, window.out(n))
    }))
}

/// The gradient of [`max`], `[N, H, W, C]`: to the first cell in reading order that holds the maximum `y`.
///
/// # Errors
/// As [`max`].
pub fn max_gradient(window: &Window, x: &Tensor, y: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (size, out) = window.sizes();
    let shape = x.shape();
    by_element!(dy, T => with_elements::<T, _>(x, |x| with_elements(y, |y| with_elements(dy, |dy| {
        let dx = each_image(x.len() / size, size, |i, dx| {
            let (x, y, dy) = (&x[i * size..][..size], &y[i * out..][..out], &dy[i * out..][..out]);
            wide(MaxGradient { window, x, y, dy, dx });
        });
        from_vec(dx, shape)
    }))))
}

/// The average over each window, `[N, OH, OW, C]`: over all its cells when `count_padding`, else over those in the image.
///
/// # Errors
/// As [`max`].
pub fn average(window: &Window, count_padding: bool, x: &Tensor) -> Result<Tensor> {
    let (size, out) = window.sizes();
    let n = x.elem_count() / size;
    by_element!(x, T => with_elements::<T, _>(x, |x| {
        let out = each_image(n, out, |i, out| {
            wide(Average { window, from: &x[i * size..][..size], to: out, count_padding, back: false })
        });
        from_vec(out, window.out(n))
    }))
}

/// The gradient of [`average`], `[N, H, W, C]`.
///
/// # Errors
/// As [`max`].
pub fn average_gradient(window: &Window, count_padding: bool, dy: &Tensor) -> Result<Tensor> {
    let (size, out) = window.sizes();
    let n = dy.elem_count() / out;
    by_element!(dy, T => with_elements::<T, _>(dy, |dy| {
        let dx = each_image(n, size, |i, dx| {
            wide(Average { window, from: &dy[i * out..][..out], to: dx, count_padding, back: true })
        });
        from_vec(dx, window.image(n))
    }))
}

struct Max<'a, T>(&'a Window, &'a [T], &'a mut [T]);

impl<T: Element> Kernel for Max<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let Self(window, x, out) = self;
        let c = window.c;
        for (oy, ox, at) in window.pixels() {
            let out = &mut out[at..at + c];
            out.fill(T::of_f32(f32::NEG_INFINITY));
            for cell in window.cells(oy, ox) {
                simd::update::<S, T, 1>(
                    [&x[cell..cell + c]],
                    out,
                    c,
                    #[inline(always)]
                    |_, o, [x]| o.at_least(x),
                );
            }
        }
    }
}

struct MaxGradient<'a, T> {
    window: &'a Window,
    x: &'a [T],
    y: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Element> Kernel for MaxGradient<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let c = self.window.c;
        self.dx.fill(T::of_f32(0.0));
        // What of the gradient no cell has taken yet.
        let mut open = vec![T::of_f32(0.0); c];
        for (oy, ox, at) in self.window.pixels() {
            let y = &self.y[at..at + c];
            open.copy_from_slice(&self.dy[at..at + c]);
            for cell in self.window.cells(oy, ox) {
                let (x, dx) = (&self.x[cell..cell + c], &mut self.dx[cell..cell + c]);
                simd::update::<S, T, 3>(
                    [x, y, &open],
                    dx,
                    c,
                    #[inline(always)]
                    |_, d, [x, y, g]| d.plus(g.where_equal(x, y)),
                );
                simd::update::<S, T, 2>(
                    [x, y],
                    &mut open,
                    c,
                    #[inline(always)]
                    |_, g, [x, y]| g.minus(g.where_equal(x, y)),
                );
            }
        }
    }
}

/// Averages of windows, or what each cell gets back from them.
struct Average<'a, T> {
    window: &'a Window,
    from: &'a [T],
    to: &'a mut [T],
    count_padding: bool,
    back: bool,
}

impl<T: Element> Kernel for Average<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let c = self.window.c;
        self.to.fill(T::of_f32(0.0));
        for (oy, ox, at) in self.window.pixels() {
            let share = S::splat(self.window.divisor(oy, ox, self.count_padding));
            for cell in self.window.cells(oy, ox) {
                let (from, to) = if self.back { (at, cell) } else { (cell, at) };
                simd::update::<S, T, 1>(
                    [&self.from[from..from + c]],
                    &mut self.to[to..to + c],
                    c,
                    #[inline(always)]
                    |_, sum, [x]| x.times_plus(share, sum),
                );
            }
        }
    }
}
