//! Pooling windows over `[N, H, W, C]`, one task an image.

use super::{filled, vectorized};
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

    fn each_image(&self, n: usize, out_len: usize, f: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
        filled(n * out_len, |out| {
            out.par_chunks_mut(out_len).enumerate().for_each(|(i, out)| {
                vectorized(
                    #[inline(always)]
                    || f(i, out),
                )
            })
        })
    }

    fn pixels(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (oh, ow, c) = (self.oh, self.ow, self.c);
        (0..oh).flat_map(move |oy| (0..ow).map(move |ox| (oy, ox, (oy * ow + ox) * c)))
    }

    /// The maximum over each window; padding never wins.
    pub fn max(&self, x: &[f32]) -> Vec<f32> {
        let size = self.h * self.w * self.c;
        self.each_image(x.len() / size, self.oh * self.ow * self.c, |i, out| {
            let x = &x[i * size..][..size];
            for (oy, ox, at) in self.pixels() {
                let out = &mut out[at..at + self.c];
                out.fill(f32::NEG_INFINITY);
                for cell in self.cells(oy, ox) {
                    out.iter_mut().zip(&x[cell..cell + self.c]).for_each(|(o, x)| *o = if *x > *o { *x } else { *o });
                }
            }
        })
    }

    /// Gradient of [`Window::max`]: to the first cell in reading order that holds the maximum.
    pub fn max_gradient(&self, x: &[f32], y: &[f32], dy: &[f32]) -> Vec<f32> {
        let (size, out) = (self.h * self.w * self.c, self.oh * self.ow * self.c);
        self.each_image(x.len() / size, size, |i, dx| {
            let (x, y, dy) = (&x[i * size..][..size], &y[i * out..][..out], &dy[i * out..][..out]);
            dx.fill(0.0);
            let mut open = vec![0.0f32; self.c];
            for (oy, ox, at) in self.pixels() {
                open.copy_from_slice(&dy[at..at + self.c]);
                for cell in self.cells(oy, ox) {
                    let target = dx[cell..cell + self.c].iter_mut().zip(&x[cell..cell + self.c]);
                    for ((d, x), (y, g)) in target.zip(y[at..at + self.c].iter().zip(&mut open)) {
                        let hit = x == y;
                        *d += if hit { *g } else { 0.0 };
                        *g = if hit { 0.0 } else { *g };
                    }
                }
            }
        })
    }

    fn divisor(&self, oy: usize, ox: usize, count_padding: bool) -> f32 {
        1.0 / if count_padding { self.k * self.k } else { self.cells(oy, ox).count() } as f32
    }

    /// The average over each window: over all its cells when `count_padding`, else over those in the image.
    pub fn average(&self, x: &[f32], count_padding: bool) -> Vec<f32> {
        let size = self.h * self.w * self.c;
        self.each_image(x.len() / size, self.oh * self.ow * self.c, |i, out| {
            let x = &x[i * size..][..size];
            for (oy, ox, at) in self.pixels() {
                let out = &mut out[at..at + self.c];
                let share = self.divisor(oy, ox, count_padding);
                out.fill(0.0);
                for cell in self.cells(oy, ox) {
                    out.iter_mut().zip(&x[cell..cell + self.c]).for_each(|(o, x)| *o += x * share);
                }
            }
        })
    }

    /// Gradient of [`Window::average`].
    pub fn average_gradient(&self, dy: &[f32], count_padding: bool) -> Vec<f32> {
        let (size, out) = (self.h * self.w * self.c, self.oh * self.ow * self.c);
        self.each_image(dy.len() / out, size, |i, dx| {
            let dy = &dy[i * out..][..out];
            dx.fill(0.0);
            for (oy, ox, at) in self.pixels() {
                let share = self.divisor(oy, ox, count_padding);
                for cell in self.cells(oy, ox) {
                    let target = dx[cell..cell + self.c].iter_mut();
                    target.zip(&dy[at..at + self.c]).for_each(|(d, g)| *d += g * share);
                }
            }
        })
    }
}
