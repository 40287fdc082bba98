//! Colours and blur of views on the emulated GPU, against their definitions.
#![allow(clippy::unwrap_used)]

use super::gpu::launch_distort;
use super::reference::{blurred, colored, weights};
use super::{ColorOp, Distortion};
use crate::testing::emulated::{Emulated, at, in_any_order, numbers, up};

/// Every order of brightness, contrast, saturation and hue.
fn orders(ops: [ColorOp; 4]) -> Vec<[ColorOp; 4]> {
    let all = (0..256).map(|i| [i / 64, i / 16 % 4, i / 4 % 4, i % 4]);
    all.filter(|o| (0..4).all(|op| o.contains(&op))).map(|o| o.map(|op| ops[op])).collect()
}

/// What becomes of a view `[H, W, C]` by definition.
fn by_definition(view: &[f32], (h, w, c): (usize, usize, usize), distortion: &Distortion) -> Vec<f32> {
    let clip = |view: &mut Vec<f32>| view.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
    let mut view = view.to_vec();
    for op in distortion.jitter.iter().flatten() {
        // What a view of one channel lacks does not clip either.
        if c == 3 || matches!(op, ColorOp::Brightness(_) | ColorOp::Contrast(_)) {
            view = colored(&view, c, *op);
            clip(&mut view);
        }
    }
    if distortion.grayscale && c == 3 {
        view = view.chunks_exact(3).flat_map(|p| [0.2989 * p[0] + 0.5870 * p[1] + 0.1140 * p[2]; 3]).collect();
    }
    clip(&mut view);
    if !distortion.blur.is_empty() {
        view = blurred(&view, (h, w, c), &distortion.blur);
        clip(&mut view);
    }
    view
}

/// Views that leave 0..1 a little, as bicubic ones do, with gray, black and white pixels among them.
fn views(count: usize, (h, w, c): (usize, usize, usize)) -> Vec<f32> {
    let mut all: Vec<f32> = numbers::<f32>(count * h * w * c, 5).iter().map(|v| v * 0.275 + 0.5).collect();
    let pixels = all.chunks_exact_mut(c).enumerate().filter(|(i, _)| i % 5 == 3);
    pixels.for_each(|(i, pixel)| pixel.fill((i % 3) as f32 / 2.0));
    all
}

fn distorted(shape: (usize, usize, usize), distortions: &[Distortion], limit: f32) {
    let (before, view) = (views(distortions.len(), shape), shape.0 * shape.1 * shape.2);
    let found = in_any_order(|| {
        let m = Emulated::get();
        let memory = up(&before);
        launch_distort(m, at(&memory), shape, distortions).unwrap();
        memory.numbers()
    });
    for (i, d) in distortions.iter().enumerate() {
        let want = by_definition(&before[i * view..][..view], shape, d);
        for (at, (a, b)) in found[i * view..][..view].iter().zip(&want).enumerate() {
            assert!((a - b).abs() <= limit, "{shape:?}, {d:?}: element {at} is {a}, not {b}");
        }
    }
}

/// Every order of the jitter with some factors, plain, gray and blurred in turn, and a view that is left alone.
fn mixed(shape: (usize, usize, usize), strength: f32, radius: usize, sigma: f32) {
    let ops = [
        ColorOp::Brightness(1.0 + 0.6 * strength),
        ColorOp::Contrast(1.0 - 0.7 * strength),
        ColorOp::Saturation(1.0 + 0.8 * strength),
        ColorOp::Hue(-0.17 * strength),
    ];
    let weights = weights(radius, sigma);
    let one = |(i, jitter): (usize, [ColorOp; 4])| Distortion {
        jitter: (i % 7 != 6).then_some(jitter),
        grayscale: i % 3 == 1,
        blur: if i % 2 == 1 { weights.clone() } else { Vec::new() },
    };
    let mut all: Vec<Distortion> = orders(ops).into_iter().enumerate().map(one).collect();
    assert_eq!(all.len(), 24);
    all.push(Distortion::default());
    distorted(shape, &all, 1e-4);
    // Hue aside, to 1e-5.
    for op in all.iter_mut().flat_map(|d| d.jitter.iter_mut().flatten()) {
        if matches!(op, ColorOp::Hue(_)) {
            *op = ColorOp::Brightness(0.9);
        }
    }
    distorted(shape, &all, 1e-5);
}

pub fn small() {
    let jitter = Some([ColorOp::Contrast(0.5), ColorOp::Hue(0.1), ColorOp::Brightness(1.1), ColorOp::Saturation(2.0)]);
    let blur = weights(1, 1.0);
    distorted((18, 18, 3), &[Distortion { jitter, grayscale: false, blur }], 1e-4);
}

#[test]
fn as_on_the_cpu() {
    for (shape, strength, radius, sigma) in [
        ((1, 1, 3), 1.0, 0, 1.0),
        ((5, 7, 3), 1.0, 11, 2.0),
        ((17, 16, 3), 0.5, 4, 1.3),
        ((32, 32, 3), 1.0, 1, 0.1),
        ((33, 9, 1), 1.0, 4, 0.7),
        ((3, 40, 3), -1.0, 2, 2.0),
    ] {
        mixed(shape, strength, radius, sigma);
    }
}

#[test]
fn views_that_nothing_befalls_are_clipped() {
    distorted((4, 6, 3), &[Distortion::default(), Distortion::default()], 0.0);
    small();
}
