//! Convolution as sums over windows of a zero-padded map: geometry, tasks, and the padded copy of what a task sees.
//!
//! A forward pass is one such sum. The gradient of its input is one for each residue of the output position modulo the
//! stride (the windows then run over the gradient of the output, and the kernel is turned around). A row of a window is
//! contiguous in the padded map, so nothing is ever unfolded into columns.

use crate::norm::cpu::Affine;
use crate::products::{Run, Segment};
use crate::simd::Element;

/// Output pixels that a task should at least have: it reads all weights once.
pub const PIXELS: usize = 256;
/// Floats of a padded copy (256 KiB) beyond which an image is cut into bands of rows.
const BAND: usize = 1 << 16;
/// Floats that the copies of a group of small images may take together (1 MiB).
const GROUP: usize = 1 << 18;

/// A map that is read through windows.
#[derive(Clone, Copy)]
pub struct Source<'a, T> {
    /// `[N, H, W, C]`.
    pub map: &'a [T],
    /// A normalisation with ReLU that is still to be applied.
    pub affine: Option<&'a Affine>,
}

/// `out[n, i, j] = sum over u < ky, v < kx, c of map[n, i * stride + u - top, j * stride + v - left, c] weight[u, v, c]`.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub ky: usize,
    pub kx: usize,
    pub stride: usize,
    pub top: isize,
    pub left: isize,
    /// Output rows and columns of an image.
    pub rows: usize,
    pub cols: usize,
}

/// Output rows `row..row + rows` of images `image..image + images`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    pub image: usize,
    pub images: usize,
    pub row: usize,
    pub rows: usize,
}

impl Windows {
    /// Floats that a window sums over.
    pub fn depth(&self) -> usize {
        self.ky * self.kx * self.c
    }

    /// A window is one pixel, and windows tile the map: rows of a matrix.
    fn pointwise(&self) -> bool {
        self.ky * self.kx == 1 && self.stride == 1 && self.inside()
    }

    /// Rows of a matrix as one long map, so that tasks can be cut anywhere; other geometries as they are.
    pub fn flattened(self) -> Self {
        if !self.pointwise() || (self.rows, self.cols) != (self.h, self.w) {
            return self;
        }
        let rows = self.n * self.h * self.w;
        Self { n: 1, h: rows, w: 1, rows, cols: 1, ..self }
    }

    /// No window leaves the map.
    fn inside(&self) -> bool {
        let (h, w) = self.reach(self.rows);
        self.top == 0 && self.left == 0 && h <= self.h && w <= self.w
    }

    /// Height and width of what `rows` rows of windows cover.
    fn reach(&self, rows: usize) -> (usize, usize) {
        ((rows - 1) * self.stride + self.ky, (self.cols - 1) * self.stride + self.kx)
    }

    /// The tasks of all images, in order, of about so many pixels: bands of rows of large images, groups of small ones.
    /// They depend on the shape alone.
    pub fn tasks(&self, pixels: usize) -> Vec<Task> {
        let copy = |rows| {
            let (h, w) = self.reach(rows);
            h * w * self.c
        };
        if self.w == 1 && self.ky * self.kx == 1 || copy(self.rows) > BAND {
            let mut rows = self.rows.min(pixels.div_ceil(self.cols).max(self.ky));
            // Bands of at least a few rows: those at their seams are copied twice.
            while rows > 2 * self.ky && copy(rows) > BAND {
                rows -= 1;
            }
            let bands = self.rows.div_ceil(rows);
            let rows = self.rows.div_ceil(bands);
            let band = |image| move |i| Task { image, images: 1, row: i * rows, rows: rows.min(self.rows - i * rows) };
            return (0..self.n).flat_map(|image| (0..bands).map(band(image))).collect();
        }
        let images = (pixels.div_ceil(self.rows * self.cols)).min(GROUP / copy(self.rows)).max(1);
        let group = |i| Task { image: i * images, images: images.min(self.n - i * images), row: 0, rows: self.rows };
        (0..self.n.div_ceil(images)).map(group).collect()
    }

    /// First output pixel of a task.
    pub fn first(&self, task: &Task) -> usize {
        (task.image * self.rows + task.row) * self.cols
    }

    /// Output pixels of a task.
    pub fn pixels(&self, task: &Task) -> usize {
        task.images * task.rows * self.cols
    }

    /// Rows and columns of the copy that [`Windows::with_padded`] lends of each image of a task.
    pub fn copy_of<T: Element>(&self, source: Source<'_, T>, task: &Task) -> (usize, usize) {
        (self.reach(task.rows).0, self.row(source) / self.c)
    }

    /// What the windows' rows are, in the padded copy that [`Windows::with_padded`] makes of a task.
    pub fn segments<T: Element>(&self, source: Source<'_, T>) -> Vec<Segment> {
        let row = self.row(source);
        (0..self.ky).map(|u| Segment { offset: u * row, depth: self.kx * self.c }).collect()
    }

    fn direct<T: Element>(&self, source: Source<'_, T>) -> bool {
        self.inside() && source.affine.is_none()
    }

    /// Floats of a row of the copy.
    fn row<T: Element>(&self, source: Source<'_, T>) -> usize {
        self.c * if self.direct(source) { self.w } else { self.reach(1).1 }
    }

    /// Calls `f` with a copy of what a task's windows see, zero outside the map, and with the runs of its output pixels;
    /// `out` tells where a pixel `(image, row)` of the task begins in what `f` writes to. Without padding and normalisation
    /// the copy is the map itself.
    pub fn with_padded<T: Element, R>(
        &self,
        source: Source<'_, T>,
        task: Task,
        out: impl Fn(usize, usize) -> usize,
        f: impl FnOnce(&[T], &[Run]) -> R,
    ) -> R {
        let row = self.row(source);
        let (reach, _) = self.reach(task.rows);
        let image = if self.direct(source) { self.h * row } else { reach * row };
        let runs: Vec<Run> = (0..task.images)
            .flat_map(|i| (0..task.rows).map(move |y| (i, y)))
            .map(|(i, y)| Run { source: i * image + y * self.stride * row, out: out(i, y), len: self.cols })
            .collect();
        // A column of single pixels is one run.
        let column = self.cols == 1 && self.w == 1 && self.stride == 1 && task.images == 1 && self.ky == 1;
        let runs = if column { vec![Run { len: task.rows, ..runs[0] }] } else { runs };
        let map = self.h * self.w * self.c;
        if self.direct(source) {
            let first = task.image * map + task.row * self.stride * row;
            let length = (task.images - 1) * map + (reach - 1) * row + self.reach(1).1 * self.c;
            return f(&source.map[first..first + length], &runs);
        }
        T::with_scratch(task.images * image, |buffer| {
            for (i, copy) in buffer.chunks_exact_mut(image).enumerate() {
                let map = &source.map[(task.image + i) * map..][..map];
                for (y, line) in copy.chunks_exact_mut(row).enumerate() {
                    self.copy_row(map, (task.row * self.stride + y) as isize - self.top, source.affine, line);
                }
            }
            f(buffer, &runs)
        })
    }

    /// Row `y` of an image, from `left` columns before its first, zero outside.
    fn copy_row<T: Element>(&self, map: &[T], y: isize, affine: Option<&Affine>, line: &mut [T]) {
        let (columns, c) = ((line.len() / self.c) as isize, self.c);
        if y < 0 || y >= self.h as isize {
            return line.fill(T::of_f32(0.0));
        }
        // Columns [first, end) of the line lie in the image.
        let first = self.left.clamp(0, columns);
        let end = (self.w as isize + self.left).clamp(first, columns);
        let (first_float, end_float) = (first as usize * c, end as usize * c);
        line[..first_float].fill(T::of_f32(0.0));
        line[end_float..].fill(T::of_f32(0.0));
        if end > first {
            let start = (y as usize * self.w + (first - self.left) as usize) * c;
            let (from, to) = (&map[start..][..end_float - first_float], &mut line[first_float..end_float]);
            match affine {
                Some(affine) => affine.apply_relu(from, to),
                None => to.copy_from_slice(from),
            }
        }
    }
}
