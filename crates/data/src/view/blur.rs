//! Gaussian blur of planar images with zeros outside, as the reference's depthwise convolution does it.

use super::canvas::Canvas;
use super::color;
use super::transform::{OnGpu, Part, Transform, TransformInfo, read};
use anyhow::{Result, ensure};
use serde::Deserialize;
use simclr_core::keys::{Range, Settings};
use simclr_core::rng::Rng;
use simclr_core::table;
use simclr_ops::Distortion;
use simclr_ops::simd::vectorized;

/// The table's entry of [`Blur`].
pub static TRANSFORM: TransformInfo =
    TransformInfo { name: "blur", is_crop: false, read: read::<Blur>, settings: <Blur as Settings>::table };

table! {
    /// Clips a share of the views to 0..1 and blurs them, by a kernel of a tenth of their side (Chen et al. 2020, appendix A).
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Blur with defaults {
        /// That share.
        pub probability: f32 = 0.5, in Range::SHARE, from "Chen et al. 2020, appendix A";
        /// Least and largest standard deviation, in pixels.
        pub sigma: [f32; 2] = [0.1, 2.0], in SIGMA, from "Chen et al. 2020, appendix A";
    }
    also ascending
}

/// Standard deviations, in pixels: beyond the second, a kernel of a tenth of any view is flat.
const SIGMA: Range = Range::above(0.0, 1000.0);

impl Blur {
    fn ascending(&self, key: &str) -> Result<()> {
        let [least, most] = self.sigma;
        ensure!(least <= most, "{key}.sigma = [{least}, {most}]: must be two numbers above 0, the smaller one first");
        Ok(())
    }
}

impl Transform for Blur {
    fn info(&self) -> &'static TransformInfo {
        &TRANSFORM
    }

    fn apply(&self, view: &mut Canvas<'_>, rng: &mut Rng) {
        let side = view.side();
        if let Some(weights) = self.draw(side, rng) {
            let (planes, scratch) = view.planes_and_scratch();
            color::clip(planes);
            gaussian(planes, (side, side), &weights, scratch);
        }
    }

    fn on_gpu(&self) -> Option<&dyn OnGpu> {
        Some(self)
    }
}

impl OnGpu for Blur {
    fn part(&self) -> Part {
        Part::Blur
    }

    fn leave(&self, side: usize, rng: &mut Rng, distortion: &mut Distortion) {
        distortion.blur = self.draw(side, rng).unwrap_or_default();
    }
}

impl Blur {
    fn draw(&self, side: usize, rng: &mut Rng) -> Option<Vec<f32>> {
        let [least, most] = self.sigma;
        rng.chance(self.probability).then(|| weights(radius(side), rng.uniform(least, most)))
    }
}

/// Weights below exp(-CUTOFF^2 / 2) of the greatest are left out: at 6 that is 1.5e-8, less than f32 can tell.
const CUTOFF: f32 = 6.0;
/// Pairs of neighbours that are added in one go over a row: the row itself is read and written once for all of them.
const PAIRS: usize = 2;

/// The kernel's radius for an image of `size` pixels: half of a tenth, both rounded down.
pub fn radius(size: usize) -> usize {
    size / 10 / 2
}

/// The weights of a kernel of `2 radius + 1` from its middle outwards, as far as they count.
pub fn weights(radius: usize, sigma: f32) -> Vec<f32> {
    let weight = |distance: usize| libm::expf(-(distance as f32).powi(2) / (2.0 * sigma * sigma));
    let sum = 1.0 + 2.0 * (1..=radius).rev().map(weight).sum::<f32>();
    let near = radius.min((CUTOFF * sigma).ceil() as usize);
    (0..=near).map(|distance| weight(distance) / sum).collect()
}

/// Blurs each plane of `image` (`[C, height, width]`) with the kernel of these [`weights`]; `scratch` grows to a little
/// more than a plane.
pub fn gaussian(image: &mut [f32], (height, width): (usize, usize), weights: &[f32], scratch: &mut Vec<f32>) {
    let near = weights.len().saturating_sub(1);
    // Whole groups of pairs; what that adds weighs nothing.
    let reach = near.next_multiple_of(PAIRS);
    let pitch = width + 2 * reach;
    // The kernel from its middle on, a row of zeros, and a plane with zeros left and right of it.
    scratch.resize(1 + reach + width + height * pitch, 0.0);
    let (kernel, rest) = scratch.split_at_mut(1 + reach);
    kernel.fill(0.0);
    kernel[..weights.len()].copy_from_slice(weights);
    let (zeros, plane) = rest.split_at_mut(width);
    zeros.fill(0.0);
    vectorized(
        #[inline(always)]
        || {
            for image in image.chunks_exact_mut(height * width) {
                for (y, padded) in plane.chunks_exact_mut(pitch).enumerate() {
                    let (left, rest) = padded.split_at_mut(reach);
                    let (out, right) = rest.split_at_mut(width);
                    left.fill(0.0);
                    right.fill(0.0);
                    let row = |y: Option<usize>| match y {
                        Some(y) if y < height => &image[y * width..][..width],
                        _ => &*zeros,
                    };
                    weighted_sum(kernel, out, |k| (row(y.checked_sub(k)), row(Some(y + k))));
                }
                for (padded, out) in plane.chunks_exact(pitch).zip(image.chunks_exact_mut(width)) {
                    weighted_sum(kernel, out, |k| (&padded[reach - k..][..width], &padded[reach + k..][..width]));
                }
            }
        },
    )
}

/// The kernel's middle times the middle, and each further weight times both neighbours at its distance.
#[inline(always)]
fn weighted_sum<'a>(kernel: &[f32], out: &mut [f32], neighbours: impl Fn(usize) -> (&'a [f32], &'a [f32])) {
    out.iter_mut().zip(neighbours(0).0).for_each(|(out, middle)| *out = kernel[0] * middle);
    for (group, weights) in kernel[1..].as_chunks::<PAIRS>().0.iter().enumerate() {
        let ((a, b), (c, d)) = (neighbours(PAIRS * group + 1), neighbours(PAIRS * group + 2));
        for ((((out, a), b), c), d) in out.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *out += (a + b) * weights[0] + (c + d) * weights[1];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_the_kernel_and_edges_lose_light() {
        let (height, width) = (31, 90);
        let weight = |x: i32| libm::expf(-(x * x) as f32 / (2.0 * 1.3 * 1.3));
        let total: f32 = (-4..=4).map(weight).sum();
        for (y, x, inside) in [(15, 65, total), (0, 0, (0..=4).map(weight).sum())] {
            let mut image = vec![0.0; 2 * height * width];
            image[(height + y) * width + x] = 1.0;
            gaussian(&mut image, (height, width), &weights(4, 1.3), &mut Vec::new());
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
