//! Gates over `[P, C]`, the pixels of one image: squeeze-and-excitation's sigmoid, and the streams of selective kernels.

use super::wide::{self, Element, Kernel, Wide, at};

/// `max(x + residual, 0)`.
pub struct AddRelu<'a, T> {
    pub x: &'a [T],
    pub residual: Option<&'a [T]>,
    pub out: &'a mut [T],
}

impl<T: Element> Kernel for AddRelu<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let (zero, period) = (S::splat(0.0), self.out.len());
        match self.residual {
            None => {
                wide::map::<S, T, 1>(
                    [self.x],
                    self.out,
                    period,
                    #[inline(always)]
                    |_, [x]| x.at_least(zero),
                );
            }
            Some(r) => wide::map::<S, T, 2>(
                [self.x, r],
                self.out,
                period,
                #[inline(always)]
                |_, [x, r]| x.plus(r).at_least(zero),
            ),
        }
    }
}

/// `x * scale`, one scale a channel; scales are padded to a whole vector.
pub struct Scale<'a, T> {
    pub x: &'a [T],
    pub scale: &'a [f32],
    pub channels: usize,
    pub out: &'a mut [T],
}

impl<T: Element> Kernel for Scale<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        for (out, x) in self.out.chunks_exact_mut(self.channels).zip(self.x.chunks_exact(self.channels)) {
            wide::map::<S, T, 1>(
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
pub struct Products<'a, T> {
    pub x: &'a [T],
    pub dy: &'a [T],
    pub sums: &'a mut [f32],
    pub channels: usize,
}

impl<T: Element> Kernel for Products<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        for (x, dy) in self.x.chunks_exact(self.channels).zip(self.dy.chunks_exact(self.channels)) {
            wide::sums::<S, T, 2, 1>(
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
pub struct Select<'a, T> {
    pub x: &'a [T],
    pub first: &'a [f32],
    pub width: usize,
    pub out: &'a mut [T],
}

impl<T: Element> Kernel for Select<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let f = self.width;
        for (out, x) in self.out.chunks_exact_mut(f).zip(self.x.chunks_exact(2 * f)) {
            let (x0, x1) = x.split_at(f);
            wide::map::<S, T, 2>(
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

/// The way back of [`Select`]: the gradient of `x`, and `sum over pixels of dy (x[..F] - x[F..])` added to `sums`.
pub struct SelectGradient<'a, T> {
    pub x: &'a [T],
    pub dy: &'a [T],
    pub first: &'a [f32],
    pub width: usize,
    pub dx: &'a mut [T],
    pub sums: &'a mut [f32],
}

impl<T: Element> Kernel for SelectGradient<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let (f, one) = (self.width, S::splat(1.0));
        let pixels = self.dx.chunks_exact_mut(2 * f).zip(self.x.chunks_exact(2 * f)).zip(self.dy.chunks_exact(f));
        for ((dx, x), dy) in pixels {
            let ((dx0, dx1), (x0, x1)) = (dx.split_at_mut(f), x.split_at(f));
            wide::map::<S, T, 1>(
                [dy],
                dx0,
                f,
                #[inline(always)]
                |column, [g]| g.times(at(self.first, column)),
            );
            wide::map::<S, T, 1>(
                [dy],
                dx1,
                f,
                #[inline(always)]
                |column, [g]| g.times(one.minus(at(self.first, column))),
            );
            wide::sums::<S, T, 3, 1>(
                [x0, x1, dy],
                f,
                [&mut *self.sums],
                #[inline(always)]
                |_, [x0, x1, g]| [g.times(x0.minus(x1))],
            );
        }
    }
}
