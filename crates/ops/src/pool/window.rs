//! The window of a pooling.

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
    pub fn cells(&self, oy: usize, ox: usize) -> impl Iterator<Item = usize> {
        let span = |o: usize, before: usize, size: usize| {
            let start = (o * self.stride) as isize - before as isize;
            start.max(0) as usize..((start + self.k as isize).max(0) as usize).min(size)
        };
        let (ys, xs) = (span(oy, self.before_h, self.h), span(ox, self.before_w, self.w));
        let (w, c) = (self.w, self.c);
        ys.flat_map(move |y| xs.clone().map(move |x| (y * w + x) * c))
    }

    /// Elements of an image, and of its result.
    pub fn sizes(&self) -> (usize, usize) {
        (self.h * self.w * self.c, self.oh * self.ow * self.c)
    }

    #[inline(always)]
    pub fn pixels(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (oh, ow, c) = (self.oh, self.ow, self.c);
        (0..oh).flat_map(move |oy| (0..ow).map(move |ox| (oy, ox, (oy * ow + ox) * c)))
    }

    #[inline(always)]
    pub fn divisor(&self, oy: usize, ox: usize, count_padding: bool) -> f32 {
        1.0 / if count_padding { self.k * self.k } else { self.cells(oy, ox).count() } as f32
    }

    /// The shape of `n` images.
    pub fn image(&self, n: usize) -> (usize, usize, usize, usize) {
        (n, self.h, self.w, self.c)
    }

    /// The shape of their results.
    pub fn out(&self, n: usize) -> (usize, usize, usize, usize) {
        (n, self.oh, self.ow, self.c)
    }
}
