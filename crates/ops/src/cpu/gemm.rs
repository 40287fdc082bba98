//! Single-threaded matrix products on slices, by the `gemm` crate.

use gemm::Parallelism;

/// A matrix in a slice: element `(i, j)` stands at `i * rows + j * cols`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
}

impl<'a> View<'a> {
    /// `data` is row-major with `width` columns.
    pub fn row_major(data: &'a [f32], width: usize) -> Self {
        Self { data, rows: width, cols: 1 }
    }

    /// The transpose of a row-major matrix with `width` columns.
    pub fn transposed(data: &'a [f32], width: usize) -> Self {
        Self { data, rows: 1, cols: width }
    }

    fn reach(&self, rows: usize, cols: usize) -> usize {
        if rows == 0 || cols == 0 { 0 } else { (rows - 1) * self.rows + (cols - 1) * self.cols + 1 }
    }
}

/// `out[m, n] (+)= a[m, k] b[k, n]`, `out` row-major with rows `n` long, adding to it when `accumulate`.
///
/// # Panics
/// When a slice is too short for the sizes.
#[allow(unsafe_code)]
pub fn gemm(m: usize, n: usize, k: usize, out: &mut [f32], a: View<'_>, b: View<'_>, accumulate: bool) {
    assert!(out.len() >= m * n, "gemm: output of {} for {m} x {n}", out.len());
    assert!(a.data.len() >= a.reach(m, k), "gemm: left side of {} for {m} x {k}", a.data.len());
    assert!(b.data.len() >= b.reach(k, n), "gemm: right side of {} for {k} x {n}", b.data.len());
    // The crate likes column-major results: hand it the transposed product, out^T = b^T a^T.
    // SAFETY: the assertions above keep every element that (m, n, k) and the strides reach inside its slice; `out` is
    // borrowed mutably, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            n,
            m,
            k,
            out.as_mut_ptr(),
            n as isize,
            1,
            accumulate,
            b.data.as_ptr(),
            b.rows as isize,
            b.cols as isize,
            a.data.as_ptr(),
            a.rows as isize,
            a.cols as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
