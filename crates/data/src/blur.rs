//! Gaussian blur of planar images with zeros outside, as the reference's depthwise convolution does it.

use simclr_ops::cpu::vectorized;

/// Weights below exp(-CUTOFF^2 / 2) of the greatest are left out: at 6 that is 1.5e-8, less than f32 can tell.
const CUTOFF: f32 = 6.0;
/// Sums that are held in registers at a time.
const LANES: usize = 64;

/// The kernel's radius for an image of `size` pixels: half of a tenth, both rounded down.
pub fn radius(size: usize) -> usize {
    size / 10 / 2
}

/// Blurs each plane of `image` (`[C, height, width]`) with a kernel of `2 radius + 1`; `scratch` grows to a plane and a
/// few rows.
pub fn gaussian(image: &mut [f32], (height, width): (usize, usize), radius: usize, sigma: f32, scratch: &mut Vec<f32>) {
    let mut kernel: Vec<f32> =
        (0..=2 * radius).map(|i| (-(i as f32 - radius as f32).powi(2) / (2.0 * sigma * sigma)).exp()).collect();
    let sum: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|k| *k /= sum);
    let near = radius.min((CUTOFF * sigma).ceil() as usize);
    let kernel = &kernel[radius - near..=radius + near];

    scratch.clear();
    scratch.resize(height * width + width + 2 * near, 0.0);
    let (plane, padded) = scratch.split_at_mut(height * width);
    vectorized(
        #[inline(always)]
        || {
            for image in image.chunks_exact_mut(height * width) {
                for (y, out) in plane.chunks_exact_mut(width).enumerate() {
                    // Rows y - near..=y + near, as far as there are any.
                    let (first, end) = (y.saturating_sub(near), height.min(y + near + 1));
                    weighted_sum(&kernel[first + near - y..end + near - y], &image[first * width..], width, out);
                }
                for (source, out) in plane.chunks_exact(width).zip(image.chunks_exact_mut(width)) {
                    padded[near..near + width].copy_from_slice(source);
                    weighted_sum(kernel, padded, 1, out);
                }
            }
        },
    )
}

/// `out[i] = sum over k of kernel[k] * source[i + k * stride]`.
#[inline(always)]
fn weighted_sum(kernel: &[f32], source: &[f32], stride: usize, out: &mut [f32]) {
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        let mut sums = [0.0f32; LANES];
        for (k, weight) in kernel.iter().enumerate() {
            let source = &source[block * LANES + k * stride..];
            match source.first_chunk::<LANES>() {
                Some(source) => sums.iter_mut().zip(source).for_each(|(sum, v)| *sum += weight * v),
                None => sums.iter_mut().zip(source).for_each(|(sum, v)| *sum += weight * v),
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
        let (height, width) = (31, 90);
        let weight = |x: i32| (-(x * x) as f32 / (2.0 * 1.3 * 1.3)).exp();
        let total: f32 = (-4..=4).map(weight).sum();
        for (y, x, inside) in [(15, 65, total), (0, 0, (0..=4).map(weight).sum())] {
            let mut image = vec![0.0; 2 * height * width];
            image[(height + y) * width + x] = 1.0;
            gaussian(&mut image, (height, width), 4, 1.3, &mut Vec::new());
            let (first, second) = image.split_at(height * width);
            let sum: f32 = second.iter().sum();
            assert!((sum - (inside / total).powi(2)).abs() < 1e-6, "{sum}");
            let got = second[(y + 2) * width + x + 3];
            assert!((got - weight(2) * weight(3) / total / total).abs() < 1e-7, "{got}");
            assert!(first.iter().all(|&v| v == 0.0), "planes mix");
        }
    }

    #[test]
    fn radii() {
        assert_eq!([32, 64, 96, 224].map(radius), [1, 3, 4, 11]);
    }
}
