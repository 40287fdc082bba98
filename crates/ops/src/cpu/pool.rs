//! Pooling windows over `[N, H, W, C]`, one task an image.

use super::filled;
use super::wide::{self, Element, Kernel, Wide, wide};
use rayon::prelude::*;

/// A pooling window; padding cells lie outside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub k: usize,
    pub stride: usize,
    pub before_h: usize,
    pub before_w: usize,
    pub oh: usize,
    pub ow: usize,
}

impl Window {
    /// The cells of the window of output pixel `(oy, ox)` that lie in the image, as offsets of their first channel.
    #[inline(always)]
    fn cells(&self, oy: usize, ox: usize) -> impl Iterator<Item = usize> {
        let span = |o: usize, before: usize, size: usize| {
            let start = (o * self.stride) as isize - before as isize;
            start.max(0) as usize..((start + self.k as isize).max(0) as usize).min(size)
        };
        let (ys, xs) = (span(oy, self.before_h, self.h), span(ox, self.before_w, self.w));
        let (w, c) = (self.w, self.c);
        ys.flat_map(move |y| xs.clone().map(move |x| (y * w + x) * c))
    }

    fn each_image<T: Element>(&self, n: usize, out_len: usize, f: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
        filled(n * out_len, |out| out.par_chunks_mut(out_len).enumerate().for_each(|(i, out)| f(i, out)))
    }

    /// Elements of an image, and of its result.
    fn sizes(&self) -> (usize, usize) {
        (self.h * self.w * self.c, self.oh * self.ow * self.c)
    }

    #[inline(always)]
    fn pixels(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (oh, ow, c) = (self.oh, self.ow, self.c);
        (0..oh).flat_map(move |oy| (0..ow).map(move |ox| (oy, ox, (oy * ow + ox) * c)))
    }

    /// The maximum over each window; padding never wins.
    pub fn max<T: Element>(&self, x: &[T]) -> Vec<T> {
        let (size, out) = self.sizes();
        self.each_image(x.len() / size, out, |i, out| wide(Max(self, &x[i * size..][..size], out)))
    }

    /// Gradient of [`Window::max`]: to the first cell in reading order that holds the maximum.
    pub fn max_gradient<T: Element>(&self, x: &[T], y: &[T], dy: &[T]) -> Vec<T> {
        let (size, out) = self.sizes();
        self.each_image(x.len() / size, size, |i, dx| {
            let (x, y, dy) = (&x[i * size..][..size], &y[i * out..][..out], &dy[i * out..][..out]);
            wide(MaxGradient { window: self, x, y, dy, dx });
        })
    }

    #[inline(always)]
    fn divisor(&self, oy: usize, ox: usize, count_padding: bool) -> f32 {
        1.0 / if count_padding { self.k * self.k } else { self.cells(oy, ox).count() } as f32
    }

    /// The average over each window: over all its cells when `count_padding`, else over those in the image.
    pub fn average<T: Element>(&self, x: &[T], count_padding: bool) -> Vec<T> {
        let (size, out) = self.sizes();
        self.each_image(x.len() / size, out, |i, out| {
            wide(Average { window: self, from: &x[i * size..][..size], to: out, count_padding, back: false })
        })
    }

    /// Gradient of [`Window::average`].
    pub fn average_gradient<T: Element>(&self, dy: &[T], count_padding: bool) -> Vec<T> {
        let (size, out) = self.sizes();
        self.each_image(dy.len() / out, size, |i, dx| {
            wide(Average { window: self, from: &dy[i * out..][..out], to: dx, count_padding, back: true })
        })
    }
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
                wide::update::<S, T, 1>(
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
                wide::update::<S, T, 3>(
                    [x, y, &open],
                    dx,
                    c,
                    #[inline(always)]
                    |_, d, [x, y, g]| d.plus(g.where_equal(x, y)),
                );
                wide::update::<S, T, 2>(
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
                wide::update::<S, T, 1>(
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
