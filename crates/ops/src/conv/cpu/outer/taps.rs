//! The gradient of the weights of any kernel, tap by tap.

#![allow(unsafe_code)]

use super::super::layout::transposed;
use super::super::window::{Source, Task, Windows};
use super::sums::{Layout, Outer, sums, width};
use crate::conv::geometry::Geometry;
use crate::products::{Maps, Run};
use crate::simd::{Element, Kernel, LANES, Wide, wide};

/// The pixels of some images, `[images, rows, cols, channels]`, to `[phases, phases, channels / width, images, rows /
/// stride, cols / stride, width]`, both quotients rounded up: a phase has the pixels whose row and column leave the same
/// rest by the stride, so that the windows of a tap follow one another.
struct Regroup<'a, T> {
    map: &'a [T],
    images: usize,
    /// Pixels of an image and of a row.
    rows: usize,
    cols: usize,
    /// Pixels from one image to the next in `map`, which may be more.
    image: usize,
    stride: usize,
    phases: usize,
    channels: usize,
    /// A multiple of [`LANES`].
    width: usize,
    out: &'a mut [f32],
}

impl<T: Element> Kernel for Regroup<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Wide>(self) {
        let Self { map, images, rows, cols, image, stride, phases, channels, width, out } = self;
        let (down, across) = (rows.div_ceil(stride), cols.div_ceil(stride));
        let pixels = images * down * across;
        assert!(width % LANES == 0 && channels % width == 0, "regroup: {channels} channels in blocks of {width}");
        assert!(out.len() >= phases * phases * pixels * channels, "regroup: no room for {pixels} pixels");
        for (i, y) in (0..images).flat_map(|i| (0..rows).map(move |y| (i, y))) {
            if y % stride >= phases {
                continue;
            }
            // The last row of a map may end early.
            let first = i * image + y * cols;
            let live = cols.min((map.len() / channels).saturating_sub(first));
            for x in (0..live).filter(|x| x % stride < phases) {
                let phase = y % stride * phases + x % stride;
                let pixel = (i * down + y / stride) * across + x / stride;
                for channel in (0..channels).step_by(LANES) {
                    let block = phase * (channels / width) + channel / width;
                    let to = (block * pixels + pixel) * width + channel % width;
                    // SAFETY: the pixel lies in `map`, as `live` has seen to, and its place in `out`, by the assertion.
                    unsafe {
                        let from = map.as_ptr().add((first + x) * channels + channel);
                        T::load::<S>(from).store(out.as_mut_ptr().add(to));
                    }
                }
            }
        }
    }
}

struct Taps<'a, T> {
    g: &'a Geometry,
    windows: Windows,
    source: Source<'a, T>,
    /// `[N, OH, OW, O]`.
    dy: &'a [T],
}

impl<T: Element> Taps<'_, T> {
    fn phases(&self) -> usize {
        self.g.k.min(self.g.stride)
    }

    /// Rows and columns of a phase of one image of a task.
    fn phase(&self, task: &Task) -> (usize, usize) {
        let (rows, cols) = self.windows.copy_of(self.source, task);
        (rows.div_ceil(self.g.stride), cols.div_ceil(self.g.stride))
    }
}

impl<T: Element> Outer for Taps<'_, T> {
    fn channels(&self) -> (usize, usize) {
        (self.g.c, self.g.o)
    }

    fn pieces(&self) -> usize {
        self.g.k * self.g.k
    }

    fn tasks(&self, pixels: usize) -> Vec<Task> {
        self.windows.tasks(pixels)
    }

    fn lengths(&self, task: &Task) -> (usize, usize) {
        let (rows, cols) = self.phase(task);
        let windows = self.phases().pow(2) * task.images * rows * cols * self.g.c;
        (windows, self.windows.pixels(task) * self.g.o)
    }

    fn copy(&self, task: &Task, windows: &mut [f32], gradients: &mut [f32]) -> Layout {
        let Geometry { c, o, k, stride, .. } = *self.g;
        let (pixels, images, phases) = (self.windows.pixels(task), task.images, self.phases());
        let map = &self.dy[self.windows.first(task) * o..][..pixels * o];
        let whole = Regroup {
            map,
            images: 1,
            rows: 1,
            cols: pixels,
            image: pixels,
            stride: 1,
            phases: 1,
            channels: o,
            width: width(o),
            out: gradients,
        };
        wide(whole);
        let (rows, cols) = self.windows.copy_of(self.source, task);
        self.windows.with_padded(
            self.source,
            *task,
            |_, _| 0,
            |map, runs| {
                // Images of a map that is read in place stand further apart than the task's rows reach.
                let image = runs.get(task.rows).map_or(0, |run| run.source / c);
                wide(Regroup {
                    map,
                    images,
                    rows,
                    cols,
                    image,
                    stride,
                    phases,
                    channels: c,
                    width: LANES,
                    out: windows,
                });
            },
        );
        let (down, across) = self.phase(task);
        let mut runs: Vec<Run> = Vec::new();
        for (i, y) in (0..images).flat_map(|i| (0..task.rows).map(move |y| (i, y))) {
            let source = (i * down + y) * across * LANES;
            match runs.last_mut() {
                Some(run) if run.source + run.len * LANES == source => run.len += self.windows.cols,
                _ => runs.push(Run { source, out: 0, len: self.windows.cols }),
            }
        }
        let block = images * down * across * LANES;
        let start = |u: usize, v: usize| {
            let phase = u % stride * phases + v % stride;
            phase * (c / LANES) * block + (u / stride * across + v / stride) * LANES
        };
        Layout { runs, block, starts: (0..k * k).map(|tap| (start(tap / k, tap % k), 0)).collect() }
    }
}

/// Whether the gradient of a convolution's weights is found here.
pub fn serves(g: &Geometry) -> bool {
    g.c.is_multiple_of(LANES) && g.o.is_multiple_of(LANES)
}

/// Gradient of the weights, `[O, K, K, C]`.
pub fn weight_gradient<T: Maps>(g: &Geometry, windows: Windows, source: Source<'_, T>, dy: &[T]) -> Vec<f32> {
    let sums = &sums(&Taps { g, windows, source, dy });
    transposed(g.patch(), g.o, |first| (0..g.k * g.k).flat_map(move |tap| sums.rows(tap, first)))
}
