//! Gaussian blur of planar images, zero beyond the border as the reference pads.

use simclr_ops::cpu::vectorized;

/// Radius of the kernel for views of side `size`: half of a tenth, both rounded down.
pub fn radius(size: usize) -> usize {
    size / 10 / 2
}

/// Blurs each plane of `image` (`[C, height, width]`) with a kernel of `2 radius + 1`; `scratch` grows to a plane.
pub fn gaussian(image: &mut [f32], (height, width): (usize, usize), radius: usize, sigma: f32, scratch: &mut Vec<f32>) {
    let mut kernel: Vec<f32> =
        (0..=2 * radius).map(|i| (-(i as f32 - radius as f32).powi(2) / (2.0 * sigma * sigma)).exp()).collect();
    let sum: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|k| *k /= sum);
    scratch.resize(height * width, 0.0);
    vectorized(
        #[inline(always)]
        || {
            for plane in image.chunks_exact_mut(height * width) {
                // Across, a shifted and weighted copy of the row for each weight.
                for (out, row) in scratch.chunks_exact_mut(width).zip(plane.chunks_exact(width)) {
                    out.fill(0.0);
                    for (k, weight) in kernel.iter().enumerate() {
                        let (to, from) = (radius.saturating_sub(k), k.saturating_sub(radius));
                        let len = width.saturating_sub(to.max(from));
                        if len > 0 {
                            let source = &row[from..from + len];
                            out[to..to + len].iter_mut().zip(source).for_each(|(o, v)| *o += weight * v);
                        }
                    }
                }
                for (y, out) in plane.chunks_exact_mut(width).enumerate() {
                    out.fill(0.0);
                    for (k, weight) in kernel.iter().enumerate() {
                        let Some(source) = (y + k).checked_sub(radius).filter(|s| *s < height) else { continue };
                        let row = &scratch[source * width..][..width];
                        out.iter_mut().zip(row).for_each(|(o, v)| *o += weight * v);
                    }
                }
            }
        },
    )
}
