//! Colour operations on f32 images in place: brightness, contrast, saturation, hue, grayscale, and their random mix.
//!
//! None but [`jitter`] clips. Saturation, hue and grayscale want three channels.

use simclr_core::rng::Rng;
use simclr_ops::cpu::vectorized;

/// Elements of a block in flat loops: a multiple of 3, so that each lane keeps its channel.
const BLOCK: usize = 48;
/// Pixels that are split into planes at a time.
const PIXELS: usize = 64;

/// Clips to 0..=1.
pub fn clip(image: &mut [f32]) {
    map(image, |x| x.clamp(0.0, 1.0));
}

/// Adds `delta`: brightness as in the first version of the method.
pub fn shift_brightness(image: &mut [f32], delta: f32) {
    map(image, |x| x + delta);
}

/// Multiplies by `factor`.
pub fn brightness(image: &mut [f32], factor: f32) {
    map(image, |x| x * factor);
}

/// Scales the distance of every pixel to its channel's mean.
pub fn contrast(image: &mut [f32], channels: usize, factor: f32) {
    let pixels = (image.len() / channels) as f64;
    vectorized(
        #[inline(always)]
        || {
            let mut sums = [0.0f32; BLOCK];
            for block in image.chunks(BLOCK) {
                for (sum, x) in sums.iter_mut().zip(block) {
                    *sum += x;
                }
            }
            let mut means = [0.0f64; 3];
            for (i, &sum) in sums.iter().enumerate() {
                means[i % channels] += f64::from(sum) / pixels;
            }
            let mean: [f32; BLOCK] = std::array::from_fn(|i| means[i % channels] as f32);
            for block in image.chunks_mut(BLOCK) {
                for (x, mean) in block.iter_mut().zip(mean) {
                    *x = (*x - mean) * factor + mean;
                }
            }
        },
    );
}

/// Multiplies the saturation (of hue, saturation, value) by `factor`, which must not be negative; it ends at 1 at most.
pub fn saturation(image: &mut [f32], factor: f32) {
    // With hue and value kept, every channel's distance to the greatest scales like the saturation,
    // and the saturation is 1 where the least channel reaches 0.
    map_pixels(
        image,
        #[inline(always)]
        |[r, g, b]| {
            let high = r.max(g).max(b);
            let range = high - r.min(g).min(b);
            let ratio = if range * factor < high { factor } else { high / range.max(f32::MIN_POSITIVE) };
            [r, g, b].map(|x| high - (high - x) * ratio)
        },
    );
}

/// Turns the hue (of hue, saturation, value) by `delta` of the whole circle, -1..=1.
pub fn hue(image: &mut [f32], delta: f32) {
    // Six sectors; the shift is made positive, so that one subtraction wraps the sum around.
    let shift = (delta - delta.floor()) * 6.0;
    map_pixels(
        image,
        #[inline(always)]
        |[r, g, b]| {
            let high = r.max(g).max(b);
            let range = high - r.min(g).min(b);
            let scale = 1.0 / range.max(f32::MIN_POSITIVE);
            let from_red = (g - b) * scale;
            let from_red = if from_red < 0.0 { from_red + 6.0 } else { from_red };
            let rest = if high == g { (b - r) * scale + 2.0 } else { (r - g) * scale + 4.0 };
            let sector = shift + if high == r { from_red } else { rest };
            let channel = |offset: f32| {
                let k = sector + offset;
                let k = if k >= 6.0 { k - 6.0 } else { k };
                let k = if k >= 6.0 { k - 6.0 } else { k };
                high - range * k.min(4.0 - k).clamp(0.0, 1.0)
            };
            [channel(5.0), channel(3.0), channel(1.0)]
        },
    );
}

/// Replaces every pixel by its luma.
pub fn grayscale(image: &mut [f32]) {
    map_pixels(
        image,
        #[inline(always)]
        |[r, g, b]| [0.2989 * r + 0.5870 * g + 0.1140 * b; 3],
    );
}

/// Brightness, contrast, saturation and hue by random amounts in random order, clipped after each.
///
/// Grey images (`channels` 1) get brightness and contrast only.
pub fn jitter(image: &mut [f32], channels: usize, strength: f32, rng: &mut Rng) {
    let spread = 0.8 * strength;
    let mut factor = || rng.uniform((1.0 - spread).max(0.0), 1.0 + spread);
    let (bright, contrasted, saturated) = (factor(), factor(), factor());
    let turned = rng.uniform(-0.2 * strength, 0.2 * strength);
    let mut order = [0, 1, 2, 3];
    rng.shuffle(&mut order);
    for operation in order {
        match operation {
            0 => brightness(image, bright),
            1 => contrast(image, channels, contrasted),
            2 if channels == 3 => saturation(image, saturated),
            3 if channels == 3 => hue(image, turned),
            _ => continue,
        }
        clip(image);
    }
}

fn map(image: &mut [f32], f: impl Fn(f32) -> f32) {
    vectorized(
        #[inline(always)]
        || image.iter_mut().for_each(|x| *x = f(*x)),
    );
}

/// Applies `f`, without branches, to every pixel. Pixels are split into planes a block at a time: interleaved channels
/// do not vectorise.
#[inline(always)]
fn map_pixels(image: &mut [f32], f: impl Fn([f32; 3]) -> [f32; 3]) {
    vectorized(
        #[inline(always)]
        || {
            for block in image.chunks_mut(3 * PIXELS) {
                let [mut r, mut g, mut b] = [[0.0f32; PIXELS]; 3];
                for (i, pixel) in block.chunks_exact(3).enumerate() {
                    (r[i], g[i], b[i]) = (pixel[0], pixel[1], pixel[2]);
                }
                for i in 0..PIXELS {
                    [r[i], g[i], b[i]] = f([r[i], g[i], b[i]]);
                }
                for (i, pixel) in block.chunks_exact_mut(3).enumerate() {
                    (pixel[0], pixel[1], pixel[2]) = (r[i], g[i], b[i]);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use simclr_core::rng::Purpose;

    const CASES: [[f32; 3]; 9] = [
        [0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0],
        [0.3, 0.3, 0.3],
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 1.0],
        [0.2, 0.9, 0.4],
        [0.7, 0.1, 0.7],
        [0.5, 0.5, 0.1],
        [0.31, 0.32, 0.33],
    ];

    fn apply(pixel: [f32; 3], f: impl Fn(&mut [f32])) -> [f32; 3] {
        let mut image = pixel;
        f(&mut image);
        image
    }

    fn close(a: [f32; 3], b: [f32; 3]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-6)
    }

    #[test]
    fn hue_turns_the_circle() {
        for pixel in CASES {
            let [r, g, b] = pixel;
            assert!(close(apply(pixel, |x| hue(x, 1.0 / 3.0)), [b, r, g]), "{pixel:?}");
            assert!(close(apply(pixel, |x| hue(x, -1.0 / 3.0)), [g, b, r]), "{pixel:?}");
            assert!(close(apply(pixel, |x| hue(x, 0.0)), pixel), "{pixel:?}");
            let back = apply(apply(pixel, |x| hue(x, 0.17)), |x| hue(x, -0.17));
            assert!(close(back, pixel), "{pixel:?} came back as {back:?}");
        }
    }

    #[test]
    fn saturation_keeps_value_and_ends_at_one() {
        for pixel in CASES {
            let high = pixel.into_iter().fold(0.0, f32::max);
            assert!(close(apply(pixel, |x| saturation(x, 0.0)), [high; 3]));
            assert!(close(apply(pixel, |x| saturation(x, 1.0)), pixel));
            let full = apply(pixel, |x| saturation(x, 1e6));
            let grey = pixel.iter().all(|&x| x == pixel[0]);
            assert!(grey || full.iter().any(|&x| x.abs() < 1e-6), "{pixel:?} became {full:?}");
            assert!(full.contains(&high));
        }
    }

    #[test]
    fn contrast_is_about_each_channel_and_handles_every_length() {
        for pixels in [1, 5, 16, 17, 1000] {
            for channels in [1, 3] {
                let mut image: Vec<f32> = (0..pixels * channels).map(|i| (i % 7) as f32 * (1 + i % channels) as f32).collect();
                let mean = |image: &[f32], c| image[c..].iter().step_by(channels).sum::<f32>() / pixels as f32;
                let before: Vec<f32> = (0..channels).map(|c| mean(&image, c)).collect();
                let first = image[0];
                contrast(&mut image, channels, 0.25);
                for (c, before) in before.iter().enumerate() {
                    assert!((mean(&image, c) - before).abs() < 1e-4, "{pixels} pixels, channel {c}");
                }
                assert!((image[0] - before[0] - 0.25 * (first - before[0])).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn jitter_stays_in_range_and_leaves_grey_images_grey() {
        let mut rng = Rng::stream(0, Purpose::Test, &[]);
        for _ in 0..50 {
            let mut grey = vec![0.2, 0.5, 0.9, 0.1];
            jitter(&mut grey, 1, 1.0, &mut rng);
            let mut image = CASES.concat();
            jitter(&mut image, 3, 2.0, &mut rng);
            assert!(grey.iter().chain(&image).all(|x| (0.0..=1.0).contains(x)));
        }
    }
}
