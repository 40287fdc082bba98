//! Convolution for processors without AVX-512: im2col of some hundred output pixels into a buffer that stays in L2, then
//! a matrix product of the `gemm` crate.

use super::conv::Geometry;
use super::gemm::{View, gemm};
use super::wide::Element;
use super::{filled, vectorized};
use rayon::prelude::*;

/// Floats of an im2col buffer (256 KiB: half of a small L2).
const BUFFER: usize = 1 << 16;
/// Floats that the partial sums of a weight gradient may take together.
const PARTIALS: usize = 1 << 23;
/// Most groups whose partial sums are added up in order.
const GROUPS: usize = 16;

impl Geometry {
    fn pointwise(&self) -> bool {
        self.k == 1 && self.stride == 1 && self.before == 0
    }
    fn tile(&self) -> usize {
        (BUFFER / self.patch()).clamp(32, 1024)
    }
}

/// Patches of output pixels `first..first + rows.len() / patch` as rows `[K, K, C]`, zero where they leave the image.
fn im2col(g: &Geometry, x: &[f32], first: usize, rows: &mut [f32]) {
    let (kc, row) = (g.k * g.c, g.w * g.c);
    for (i, patch) in rows.chunks_exact_mut(g.patch()).enumerate() {
        let pixel = first + i;
        let (n, oy, ox) = (pixel / (g.oh * g.ow), pixel / g.ow % g.oh, pixel % g.ow);
        let image = &x[n * g.h * row..(n + 1) * g.h * row];
        let (y0, x0) = ((oy * g.stride) as isize - g.before as isize, (ox * g.stride) as isize - g.before as isize);
        // Columns [left, right) of the patch lie inside the image.
        let left = (-x0).clamp(0, g.k as isize) as usize;
        let right = (g.w as isize - x0).clamp(left as isize, g.k as isize) as usize;
        for (ky, line) in patch.chunks_exact_mut(kc).enumerate() {
            let y = y0 + ky as isize;
            if y < 0 || y >= g.h as isize {
                line.fill(0.0);
                continue;
            }
            line[..left * g.c].fill(0.0);
            line[right * g.c..].fill(0.0);
            if right > left {
                let start = y as usize * row + (x0 + left as isize) as usize * g.c;
                line[left * g.c..right * g.c].copy_from_slice(&image[start..start + (right - left) * g.c]);
            }
        }
    }
}

/// Adds patch gradients `[pixels of one image, K K C]` of rows `first..` to the image's gradient.
fn col2im(g: &Geometry, patches: &[f32], first: usize, image: &mut [f32]) {
    let (kc, row) = (g.k * g.c, g.w * g.c);
    for (i, patch) in patches.chunks_exact(g.patch()).enumerate() {
        let (oy, ox) = ((first + i) / g.ow, (first + i) % g.ow);
        let (y0, x0) = ((oy * g.stride) as isize - g.before as isize, (ox * g.stride) as isize - g.before as isize);
        let left = (-x0).clamp(0, g.k as isize) as usize;
        let right = (g.w as isize - x0).clamp(left as isize, g.k as isize) as usize;
        if right == left {
            continue;
        }
        for (ky, line) in patch.chunks_exact(kc).enumerate() {
            let y = y0 + ky as isize;
            if y < 0 || y >= g.h as isize {
                continue;
            }
            let start = y as usize * row + (x0 + left as isize) as usize * g.c;
            let target = &mut image[start..start + (right - left) * g.c];
            target.iter_mut().zip(&line[left * g.c..right * g.c]).for_each(|(t, p)| *t += p);
        }
    }
}

/// `[O, P]` to `[P, O]`: the layout in which the product's vectors run along output channels.
fn transposed(weight: &[f32], o: usize) -> Vec<f32> {
    let p = weight.len() / o;
    let mut out = vec![0.0; weight.len()];
    for (i, row) in weight.chunks_exact(p).enumerate() {
        for (j, &v) in row.iter().enumerate() {
            out[j * o + i] = v;
        }
    }
    out
}

/// `[N, H, W, C]` by weights `[O, K, K, C]` to `[N, OH, OW, O]`.
pub fn forward(g: &Geometry, x: &[f32], weight: &[f32]) -> Vec<f32> {
    product(g, x, &transposed(weight, g.o))
}

/// The forward product with weights already laid out as `[K, K, C, O]`.
fn product(g: &Geometry, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let (patch, tile) = (g.patch(), g.tile());
    filled(g.pixels() * g.o, |out| {
        out.par_chunks_mut(tile * g.o).enumerate().for_each(|(i, out)| {
            let (first, rows) = (i * tile, out.len() / g.o);
            let weight = View::row_major(weight, g.o);
            if g.pointwise() {
                let x = View::row_major(&x[first * g.c..(first + rows) * g.c], g.c);
                gemm(rows, g.o, patch, out, x, weight, false);
            } else {
                f32::with_scratch(rows * patch, |columns| {
                    im2col(g, x, first, columns);
                    gemm(rows, g.o, patch, out, View::row_major(columns, patch), weight, false);
                });
            }
        });
    })
}

/// Gradient of the input, `[N, H, W, C]`, from that of the output, `[N, OH, OW, O]`.
pub fn input_gradient(g: &Geometry, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    if g.stride == 1 && g.before < g.k {
        // The same product with the kernel turned around: [O, K, K, C] read as [K', K', O, C].
        let (k2, c, o) = (g.k * g.k, g.c, g.o);
        let mut turned = vec![0.0; weight.len()];
        for i in 0..o {
            for j in 0..k2 {
                let source = &weight[(i * k2 + j) * c..][..c];
                turned[((k2 - 1 - j) * o + i) * c..][..c].copy_from_slice(source);
            }
        }
        let back = Geometry { h: g.oh, w: g.ow, c: o, o: c, before: g.k - 1 - g.before, oh: g.h, ow: g.w, ..*g };
        return product(&back, dy, &turned);
    }
    let (patch, tile, pixels) = (g.patch(), g.tile(), g.oh * g.ow);
    filled(g.n * g.h * g.w * g.c, |dx| {
        dx.par_chunks_mut(g.h * g.w * g.c).zip(dy.par_chunks(pixels * g.o)).for_each(|(dx, dy)| {
            dx.fill(0.0);
            for (i, dy) in dy.chunks(tile * g.o).enumerate() {
                let rows = dy.len() / g.o;
                f32::with_scratch(rows * patch, |columns| {
                    let (dy, weight) = (View::row_major(dy, g.o), View::row_major(weight, patch));
                    gemm(rows, patch, g.o, columns, dy, weight, false);
                    vectorized(
                        #[inline(always)]
                        || col2im(g, columns, i * tile, dx),
                    );
                });
            }
        });
    })
}

/// Gradient of the weights, `[O, K, K, C]`.
pub fn weight_gradient(g: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (patch, tile, size) = (g.patch(), g.tile(), g.o * g.patch());
    let tiles = g.pixels().div_ceil(tile);
    // Partial sums over a fixed number of groups of tiles, added up in order.
    let groups = (PARTIALS / size).clamp(2, GROUPS).min(tiles).max(1);
    let each = tiles.div_ceil(groups);
    let partials: Vec<Vec<f32>> = (0..groups)
        .into_par_iter()
        .map(|group| {
            let mut sum = vec![0.0; size];
            let (start, end) = (group * each * tile, ((group + 1) * each * tile).min(g.pixels()));
            let mut first = start;
            while first < end {
                let rows = tile.min(end - first);
                let dy = View::transposed(&dy[first * g.o..(first + rows) * g.o], g.o);
                if g.pointwise() {
                    let x = View::row_major(&x[first * g.c..(first + rows) * g.c], g.c);
                    gemm(g.o, patch, rows, &mut sum, dy, x, true);
                } else {
                    f32::with_scratch(rows * patch, |columns| {
                        im2col(g, x, first, columns);
                        gemm(g.o, patch, rows, &mut sum, dy, View::row_major(columns, patch), true);
                    });
                }
                first += rows;
            }
            sum
        })
        .collect();
    total(partials, size)
}

/// The partial sums added up in order.
pub fn total(partials: Vec<Vec<f32>>, size: usize) -> Vec<f32> {
    let mut partials = partials.into_iter();
    let mut total = partials.next().unwrap_or_else(|| vec![0.0; size]);
    for partial in partials {
        total.par_iter_mut().zip(&partial).with_min_len(4096).for_each(|(t, p)| *t += p);
    }
    total
}
