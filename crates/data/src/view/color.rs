//! Colour operations on planar images `[C, pixels]`, as TensorFlow's `tf.image` defines them.
//!
//! None of them clips; [`jitter`] does, after each.

use simclr_core::rng::Rng;
use simclr_ops::ColorOp as Op;
use simclr_ops::simd::vectorized;

/// Weights of red, green and blue in gray.
const GRAY: [f32; 3] = [0.2989, 0.5870, 0.1140];

/// Partial sums of a mean.
const LANES: usize = 32;

/// Pixels that go through all operations of a pass before the next ones do: few enough to stay in the innermost cache.
/// A multiple of `LANES`, so that the partial sums of blocks are those of the whole.
const BLOCK: usize = 32 * LANES;

/// Multiplies by `factor` (the "v2" brightness).
pub fn brightness(image: &mut [f32], factor: f32) {
    let planes = &mut [image];
    vectorized(
        #[inline(always)]
        || apply::<false>(Op::Brightness(factor), planes, &[]),
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
                let mut sums = [0.0; LANES];
                add_up(plane, &mut sums);
                apply::<false>(Op::Contrast(factor), &mut [plane], &[mean(&sums, pixels)]);
            }
        },
    )
}

/// Multiplies HSV saturation by `factor`, at most to 1.
pub fn saturation(image: &mut [f32], factor: f32) {
    let (r, g, b) = planes(image);
    vectorized(
        #[inline(always)]
        || apply::<false>(Op::Saturation(factor), &mut [r, g, b], &[]),
    )
}

/// Turns HSV hue by `delta` of a full circle.
pub fn hue(image: &mut [f32], delta: f32) {
    let (r, g, b) = planes(image);
    vectorized(
        #[inline(always)]
        || apply::<false>(Op::Hue(delta), &mut [r, g, b], &[]),
    )
}

/// The three planes of a colour image.
fn planes(image: &mut [f32]) -> (&mut [f32], &mut [f32], &mut [f32]) {
    let pixels = image.len() / 3;
    let (r, rest) = image.split_at_mut(pixels);
    let (g, b) = rest.split_at_mut(pixels);
    (r, g, b)
}

/// Adds a plane, or a block of one, to its partial sums: one long chain of additions would be slow, and lose digits.
#[inline(always)]
fn add_up(plane: &[f32], sums: &mut [f32; LANES]) {
    let (blocks, rest) = plane.as_chunks::<LANES>();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, v)| *sum += v);
    }
    sums.iter_mut().zip(rest).for_each(|(sum, v)| *sum += v);
}

#[inline(always)]
fn mean(sums: &[f32; LANES], pixels: usize) -> f32 {
    sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() as f32 / pixels as f32
}

/// One operation on equally long planes, then a clip to 0..1 where it `CLIPS`. Contrast needs a mean for each plane.
#[inline(always)]
fn apply<const CLIPS: bool>(op: Op, planes: &mut [&mut [f32]], means: &[f32]) {
    let end = |v: f32| if CLIPS { v.clamp(0.0, 1.0) } else { v };
    match (op, planes) {
        (Op::Brightness(factor), planes) => {
            for plane in planes {
                plane.iter_mut().for_each(|v| *v = end(*v * factor));
            }
        }
        (Op::Contrast(factor), planes) => {
            for (plane, mean) in planes.iter_mut().zip(means) {
                plane.iter_mut().for_each(|v| *v = end((*v - mean) * factor + mean));
            }
        }
        (Op::Saturation(factor), [r, g, b]) => {
            for ((r, g), b) in r.iter_mut().zip(g.iter_mut()).zip(b.iter_mut()) {
                let (max, min) = (r.max(*g).max(*b), r.min(*g).min(*b));
                // Every channel moves along its distance from the largest. Saturation is (max - min) / max and must not
                // become more than 1, which is where this ratio ends; of gray, 0 / 0 included, any will do.
                let ratio = (max / (max - min)).min(factor).max(0.0);
                *r = end(max - (max - *r) * ratio);
                *g = end(max - (max - *g) * ratio);
                *b = end(max - (max - *b) * ratio);
            }
        }
        (Op::Hue(delta), [r, g, b]) => {
            for ((r, g), b) in r.iter_mut().zip(g.iter_mut()).zip(b.iter_mut()) {
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
                let turned = turned - (turned * (1.0 / 6.0)).floor() * 6.0;
                // How far each channel lies below the largest, as a share of the range.
                *r = end(max - range * (2.0 - (turned - 3.0).abs()).clamp(0.0, 1.0));
                *g = end(max - range * ((turned - 2.0).abs() - 1.0).clamp(0.0, 1.0));
                *b = end(max - range * ((turned - 4.0).abs() - 1.0).clamp(0.0, 1.0));
            }
        }
        // An image of one channel has neither saturation nor hue.
        _ => {}
    }
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

/// Draws the "v2" colour jitter of strength `s`: brightness, contrast, saturation and hue in random order.
pub fn draw(s: f32, rng: &mut Rng) -> [Op; 4] {
    let mut order = [0, 1, 2, 3];
    rng.shuffle(&mut order);
    // All factors are drawn, used or not: a stream does not depend on the number of channels.
    // Strengths above 1.25 reach factors of 0, never negative ones, which would turn a picture into its negative.
    let mut factor = || rng.uniform((1.0 - 0.8 * s).max(0.0), 1.0 + 0.8 * s);
    let (brighter, contrasted, saturated) = (factor(), factor(), factor());
    let turned = rng.uniform(-0.2 * s, 0.2 * s);
    let ops = [Op::Brightness(brighter), Op::Contrast(contrasted), Op::Saturation(saturated), Op::Hue(turned)];
    order.map(|op| ops[op])
}

/// Applies operations in order, with a clip after each. An image of one channel has neither saturation nor hue.
pub fn jitter(image: &mut [f32], channels: usize, ops: &[Op; 4]) {
    let pixels = image.len() / channels;
    // Contrast alone needs the whole picture, for its means: what comes before it is one pass, the rest another.
    let contrast = ops.iter().position(|op| matches!(op, Op::Contrast(_)));
    let (before, after) = ops.split_at(contrast.unwrap_or_default());
    let (mut sums, mut means) = ([[0.0; LANES]; 3], [0.0; 3]);
    vectorized(
        #[inline(always)]
        || {
            in_blocks(
                image,
                pixels,
                #[inline(always)]
                |planes| {
                    apply_all(before, planes, &[]);
                    for (plane, sums) in planes.iter().zip(&mut sums) {
                        add_up(plane, sums);
                    }
                },
            );
            for (mean_of, sums) in means.iter_mut().zip(&sums) {
                *mean_of = mean(sums, pixels);
            }
            in_blocks(
                image,
                pixels,
                #[inline(always)]
                |planes| apply_all(after, planes, &means),
            );
        },
    )
}

#[inline(always)]
fn apply_all(ops: &[Op], planes: &mut [&mut [f32]], means: &[f32]) {
    for op in ops {
        apply::<true>(*op, planes, means);
    }
}

/// Shows `work` the planes of an image of at most three channels, a block of pixels at a time.
#[inline(always)]
fn in_blocks(image: &mut [f32], pixels: usize, mut work: impl FnMut(&mut [&mut [f32]])) {
    let mut planes = image.chunks_exact_mut(pixels);
    let mut blocks: [_; 3] = std::array::from_fn(|_| planes.next().unwrap_or_default().chunks_mut(BLOCK));
    while let Some(r) = blocks[0].next() {
        match (blocks[1].next(), blocks[2].next()) {
            (Some(g), Some(b)) => work(&mut [r, g, b]),
            _ => work(&mut [r]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simclr_core::rng::Purpose;
    use simclr_core::testing::assert_close;

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

    fn apply(mut pixel: [f32; 3], f: impl Fn(&mut [f32])) -> [f32; 3] {
        f(&mut pixel);
        pixel
    }

    fn close(a: [f32; 3], b: [f32; 3]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 4e-6)
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
    fn saturation_keeps_the_value_and_ends_at_one() {
        for pixel in CASES {
            let high = pixel.into_iter().fold(0.0, f32::max);
            assert!(close(apply(pixel, |x| saturation(x, 0.0)), [high; 3]));
            assert!(close(apply(pixel, |x| saturation(x, 1.0)), pixel));
            let full = apply(pixel, |x| saturation(x, 1e6));
            let gray = pixel.iter().all(|&x| x == pixel[0]);
            assert!(gray || full.iter().any(|&x| x.abs() < 1e-6), "{pixel:?} became {full:?}");
        }
    }

    #[test]
    fn contrast_is_about_each_channel_at_any_length() {
        for pixels in [1, 5, 32, 33, 1000] {
            let mut image: Vec<f32> =
                (0..2 * pixels).map(|i| (i % 7) as f32 + if i < pixels { 0.0 } else { 9.0 }).collect();
            let mean = |plane: &[f32]| plane.iter().map(|v| f64::from(*v)).sum::<f64>() as f32 / pixels as f32;
            let before = image.clone();
            contrast(&mut image, 2, 0.25);
            for (after, before) in image.chunks(pixels).zip(before.chunks(pixels)) {
                assert!((mean(after) - mean(before)).abs() < 1e-4, "{pixels} pixels");
                assert!((after[0] - mean(before) - 0.25 * (before[0] - mean(before))).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn jitter_stays_in_range() {
        let mut rng = Rng::stream(0, Purpose::Test, &[]);
        for _ in 0..50 {
            let mut gray = vec![0.2, 0.5, 0.9, 0.1];
            jitter(&mut gray, 1, &draw(1.0, &mut rng));
            let mut image = CASES.concat();
            jitter(&mut image, 3, &draw(2.0, &mut rng));
            assert!(gray.iter().chain(&image).all(|x| (0.0..=1.0).contains(x)));
        }
    }

    #[test]
    fn jitter_clips_after_each_operation_in_the_drawn_order() {
        let (pixels, strength, mut mattered) = ([0.2f32, 0.6, 0.95, 0.8], 1.0, 0);
        for draw in 0..64 {
            let stream = || Rng::stream(5, Purpose::Test, &[draw]);
            let mut image = pixels;
            jitter(&mut image, 1, &super::draw(strength, &mut stream()));
            let (mut rng, mut order) = (stream(), [0, 1, 2, 3]);
            rng.shuffle(&mut order);
            let (brighter, contrasted) = (rng.uniform(0.2, 1.8), rng.uniform(0.2, 1.8));
            let apply = |clips: bool| {
                let mut v = pixels;
                for op in order.iter().filter(|op| **op < 2) {
                    let mean = v.iter().sum::<f32>() / 4.0;
                    let one = |v: f32| if *op == 0 { v * brighter } else { (v - mean) * contrasted + mean };
                    v = v.map(|v| if clips { one(v).clamp(0.0, 1.0) } else { one(v) });
                }
                v.map(|v| v.clamp(0.0, 1.0))
            };
            assert_close(&format!("draw {draw}"), &image, &apply(true), 1e-5);
            mattered += usize::from(apply(true) != apply(false));
        }
        assert!(mattered > 10, "clipping in between changed only {mattered} draws");
    }
}
