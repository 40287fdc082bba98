//! Colour operations on planar images `[C, pixels]`, as TensorFlow's `tf.image` defines them.
//!
//! None of them clips; [`jitter`] does, after each.

use simclr_core::rng::Rng;
use simclr_ops::cpu::vectorized;

/// Weights of red, green and blue in gray.
const GRAY: [f32; 3] = [0.2989, 0.5870, 0.1140];

/// Partial sums of a mean.
const LANES: usize = 32;

/// Multiplies by `factor` (the "v2" brightness).
pub fn brightness(image: &mut [f32], factor: f32) {
    vectorized(
        #[inline(always)]
        || image.iter_mut().for_each(|v| *v *= factor),
    )
}

/// Adds `delta` (the brightness of SimCLR's first version).
pub fn brightness_v1(image: &mut [f32], delta: f32) {
    image.iter_mut().for_each(|v| *v += delta);
}

/// Scales about each channel's own mean.
pub fn contrast(image: &mut [f32], channels: usize, factor: f32) {
    let pixels = image.len() / channels;
    vectorized(
        #[inline(always)]
        || {
            for plane in image.chunks_exact_mut(pixels) {
                // Partial sums: one long chain of additions would be slow, and lose digits.
                let mut sums = [0.0f32; LANES];
                for block in plane.chunks(LANES) {
                    sums.iter_mut().zip(block).for_each(|(sum, v)| *sum += v);
                }
                let mean = sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() as f32 / pixels as f32;
                plane.iter_mut().for_each(|v| *v = (*v - mean) * factor + mean);
            }
        },
    )
}

/// The three planes of a colour image.
fn planes(image: &mut [f32]) -> (&mut [f32], &mut [f32], &mut [f32]) {
    let pixels = image.len() / 3;
    let (r, rest) = image.split_at_mut(pixels);
    let (g, b) = rest.split_at_mut(pixels);
    (r, g, b)
}

/// Multiplies HSV saturation by `factor`, at most to 1.
pub fn saturation(image: &mut [f32], factor: f32) {
    let (r, g, b) = planes(image);
    vectorized(
        #[inline(always)]
        || {
            for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
                let (max, min) = (r.max(*g).max(*b), r.min(*g).min(*b));
                let range = max - min;
                // Every channel moves along its distance from the largest.
                let saturation = if max > 0.0 { range / max } else { 0.0 };
                let scaled = (saturation * factor).clamp(0.0, 1.0);
                let ratio = if saturation > 0.0 { scaled / saturation } else { 0.0 };
                *r = max - (max - *r) * ratio;
                *g = max - (max - *g) * ratio;
                *b = max - (max - *b) * ratio;
            }
        },
    )
}

/// Turns HSV hue by `delta` of a full circle.
pub fn hue(image: &mut [f32], delta: f32) {
    let (r, g, b) = planes(image);
    vectorized(
        #[inline(always)]
        || {
            for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
                let (max, min) = (r.max(*g).max(*b), r.min(*g).min(*b));
                let range = max - min;
                let scale = if range > 0.0 { 1.0 / range } else { 0.0 };
                let sector = if max == *r {
                    (*g - *b) * scale
                } else if max == *g {
                    (*b - *r) * scale + 2.0
                } else {
                    (*r - *g) * scale + 4.0
                };
                let turned = sector + delta * 6.0;
                let channel = |n: f32| {
                    let k = n + turned;
                    let k = k - (k * (1.0 / 6.0)).floor() * 6.0;
                    max - range * k.min(4.0 - k).clamp(0.0, 1.0)
                };
                (*r, *g, *b) = (channel(5.0), channel(3.0), channel(1.0));
            }
        },
    )
}

/// Replaces every channel by the gray value.
pub fn grayscale(image: &mut [f32]) {
    let (r, g, b) = planes(image);
    vectorized(
        #[inline(always)]
        || {
            for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
                let gray = GRAY[0] * *r + GRAY[1] * *g + GRAY[2] * *b;
                (*r, *g, *b) = (gray, gray, gray);
            }
        },
    )
}

/// Clips to 0..1.
pub fn clip(image: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || image.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0)),
    )
}

/// The "v2" colour jitter of strength `s`: brightness, contrast, saturation and hue in random order, clipped after each.
/// An image of one channel has neither saturation nor hue.
pub fn jitter(image: &mut [f32], channels: usize, s: f32, rng: &mut Rng) {
    let mut order = [0, 1, 2, 3];
    rng.shuffle(&mut order);
    // All factors are drawn, used or not: a stream does not depend on the number of channels.
    let brighter = rng.uniform((1.0 - 0.8 * s).max(0.0), 1.0 + 0.8 * s);
    let (contrasted, saturated) =
        (rng.uniform(1.0 - 0.8 * s, 1.0 + 0.8 * s), rng.uniform(1.0 - 0.8 * s, 1.0 + 0.8 * s));
    let turned = rng.uniform(-0.2 * s, 0.2 * s);
    for op in order {
        match op {
            0 => brightness(image, brighter),
            1 => contrast(image, channels, contrasted),
            2 if channels == 3 => saturation(image, saturated),
            3 if channels == 3 => hue(image, turned),
            _ => continue,
        }
        clip(image);
    }
}
