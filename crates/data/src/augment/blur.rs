//! Gaussian blur with zeros outside the image.

use simclr_ops::cpu::vectorized;

/// Weights below exp(-CUTOFF^2 / 2) of the greatest are dropped: at 6 that is 1.5e-8, less than f32 can tell.
const CUTOFF: f32 = 6.0;
/// Floats that one accumulator holds.
const LANES: usize = 64;

/// Buffers of a blur, kept for the next one.
#[derive(Default)]
pub struct Blur {
    kernel: Vec<f32>,
    /// The image after the pass along columns.
    pass: Vec<f32>,
    /// One row between zeros.
    row: Vec<f32>,
}

/// The kernel's radius for an image of `size` pixels: half of a tenth, both rounded down.
pub fn radius(size: usize) -> usize {
    size / 10 / 2
}

impl Blur {
    /// Blurs `image`, `[H, W, C]`, with a kernel of `2 * radius + 1` weights of deviation `sigma` in pixels, which sum
    /// to 1.
    pub fn apply(&mut self, image: &mut [f32], width: usize, channels: usize, radius: usize, sigma: f32) {
        let radius = radius.min((CUTOFF * sigma).ceil() as usize);
        let offsets = -(radius as isize)..=radius as isize;
        self.kernel.clear();
        self.kernel.extend(offsets.map(|x| (-((x * x) as f32) / (2.0 * sigma * sigma)).exp()));
        let sum: f32 = self.kernel.iter().sum();
        self.kernel.iter_mut().for_each(|w| *w /= sum);

        let row_len = width * channels;
        let margin = radius * channels;
        self.pass.clear();
        self.pass.resize(image.len(), 0.0);
        self.row.clear();
        self.row.resize(row_len + 2 * margin, 0.0);
        vectorized(
            #[inline(always)]
            || {
                let height = image.len() / row_len;
                for (y, out) in self.pass.chunks_exact_mut(row_len).enumerate() {
                    // Rows y - radius..=y + radius, as far as there are any.
                    let (first, end) = (y.saturating_sub(radius), height.min(y + radius + 1));
                    let kernel = &self.kernel[first + radius - y..end + radius - y];
                    weighted_sum(kernel, &image[first * row_len..], row_len, out);
                }
                for (source, out) in self.pass.chunks_exact(row_len).zip(image.chunks_exact_mut(row_len)) {
                    self.row[margin..][..row_len].copy_from_slice(source);
                    weighted_sum(&self.kernel, &self.row, channels, out);
                }
            },
        );
    }
}

/// `out[i] = sum over k of kernel[k] * source[i + k * stride]`, a block of accumulators at a time.
#[inline(always)]
fn weighted_sum(kernel: &[f32], source: &[f32], stride: usize, out: &mut [f32]) {
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        let mut sums = [0.0f32; LANES];
        for (k, weight) in kernel.iter().enumerate() {
            let source = &source[block * LANES + k * stride..];
            if let Some(source) = source.first_chunk::<LANES>() {
                for (sum, x) in sums.iter_mut().zip(source) {
                    *sum += weight * x;
                }
            } else {
                for (sum, x) in sums.iter_mut().zip(source) {
                    *sum += weight * x;
                }
            }
        }
        out.copy_from_slice(&sums[..out.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_the_kernel_and_edges_lose_light() {
        let (size, channels) = (31, 3);
        for at in [15, 0] {
            let mut image = vec![0.0; size * size * channels];
            image[(at * size + at) * channels + 1] = 1.0;
            Blur::default().apply(&mut image, size, channels, 4, 1.3);
            let sum: f32 = image.iter().sum();
            let weight = |x: isize| (-(x * x) as f32 / (2.0 * 1.3 * 1.3)).exp();
            let total: f32 = (-4..=4).map(weight).sum();
            let inside: f32 = if at == 0 { (0..=4).map(weight).sum() } else { total };
            assert!((sum - (inside / total).powi(2)).abs() < 1e-6, "{at}: {sum}");
            let (y, x) = (at + 2, at + 3);
            let got = image[(y * size + x) * channels + 1];
            assert!((got - weight(2) * weight(3) / total / total).abs() < 1e-7);
            assert!(image.iter().skip(2).step_by(3).all(|&v| v == 0.0), "channels mix");
        }
    }

    #[test]
    fn radii() {
        assert_eq!([32, 64, 96, 224].map(radius), [1, 3, 4, 11]);
    }
}
