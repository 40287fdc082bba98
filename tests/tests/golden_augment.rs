//! Image operations against the reference, op by op, and the distribution of random crops.
#![allow(clippy::unwrap_used, missing_docs)]

use simclr_core::config::{AugmentConfig, EvalConfig, Resize};
use simclr_core::rng::{Purpose, Rng};
use simclr_data::crop::{self, Rect};
use simclr_data::resize::{self, Scratch};
use simclr_data::{ImageRef, ViewMaker, blur, color};
use simclr_tests::{Golden, assert_within, golden_files, golden_json, log};

const OPS: f32 = 1e-5;
const HUE: f32 = 1e-4;
/// Side of the views whose distribution is compared.
const SIDE: usize = 32;

fn planar(hwc: &[f32], c: usize) -> Vec<f32> {
    (0..c).flat_map(|k| hwc.iter().skip(k).step_by(c).copied()).collect()
}

fn interleaved(planes: &[f32], c: usize) -> Vec<f32> {
    let pixels = planes.len() / c;
    (0..planes.len()).map(|i| planes[i % c * pixels + i / c]).collect()
}

fn bytes(golden: &Golden, name: &str) -> (usize, usize, Vec<u8>) {
    let (shape, data) = golden.get(name);
    (shape[0], shape[1], data.iter().map(|v| *v as u8).collect())
}

fn numbers(text: &str) -> Vec<usize> {
    text.split('_').filter_map(|n| n.parse().ok()).collect()
}

/// Both resizes: its name, the file with the inputs, the one with the results and what their names begin with.
fn resizes() -> Vec<(Resize, Golden, String, &'static str)> {
    let mut all = Vec::new();
    for (kind, files, prefix) in [(Resize::Tf2, "augment_ops", ""), (Resize::Tf1, "legacy_resize", "legacy_")] {
        let files = golden_files(files);
        assert!(!files.is_empty(), "{kind:?}");
        let inputs = |file: &str| Golden::load(&file.replace("legacy_resize", "augment_ops"));
        all.extend(files.into_iter().map(|file| (kind, inputs(&file), file, prefix)));
    }
    all
}

#[test]
fn resizing() {
    for (kind, inputs, file, prefix) in resizes() {
        let golden = Golden::load(&file);
        let (height, width, data) = bytes(&inputs, "u8");
        let image = ImageRef { height, width, channels: 3, data: &data };
        let mut seen = 0;
        for name in golden.names() {
            let Some(numbers) = name.strip_prefix(prefix).and_then(|n| n.strip_prefix("bicubic.")).map(numbers) else {
                continue;
            };
            let [y, x, h, w, to_h, to_w] = numbers[..] else { panic!("{name}") };
            let mut out = vec![0.0; to_h * to_w * 3];
            let rect = Rect { y, x, height: h, width: w };
            resize::bicubic(image, rect, (to_h, to_w), (kind, false), &mut Scratch::default(), &mut out);
            assert_within(&format!("{file} {name}"), &interleaved(&out, 3), &golden.get(name).1, OPS);
            // Mirrored is mirrored.
            let mut flipped = vec![0.0; out.len()];
            resize::bicubic(image, rect, (to_h, to_w), (kind, true), &mut Scratch::default(), &mut flipped);
            for (a, b) in out.chunks(to_w).zip(flipped.chunks(to_w)) {
                assert!(a.iter().eq(b.iter().rev()), "{name}: flip");
            }
            seen += 1;
        }
        assert!(seen > 0);
    }
}

#[test]
fn evaluation_views() {
    for (kind, inputs, file, prefix) in resizes() {
        let (golden, mut seen) = (Golden::load(&file), 0);
        for name in golden.names().filter(|n| !n.ends_with(".u8")) {
            let Some(view) = name.strip_prefix(prefix).and_then(|n| n.strip_prefix("eval.")) else { continue };
            let (shape, want) = golden.get(name);
            let source = match view {
                view if view.starts_with("nocrop") => "u8_32".to_string(),
                view => format!("eval.{}.u8", view.split('.').next().unwrap()),
            };
            let (height, width, data) = bytes(&inputs, &source);
            let image = ImageRef { height, width, channels: 3, data: &data };
            let mut out = vec![0.0; want.len()];
            let rng = Rng::stream(0, Purpose::Test, &[]);
            let config = EvalConfig { resize: kind, ..EvalConfig::default() };
            ViewMaker::eval(&config, shape[0]).view(image, &rng, &mut out);
            assert_within(&format!("{file} {name}"), &out, want, OPS);
            seen += 1;
        }
        assert!(seen > 0, "{file}: no evaluation views");
    }
}

#[test]
fn colours() {
    for file in golden_files("augment_ops") {
        let golden = Golden::load(&file);
        let source = planar(&golden.get("float").1, 3);
        let mut seen = 0;
        for name in golden.names() {
            let (op, value) = match name.split_once('.') {
                Some((op, value)) => (op, value.parse::<f32>().unwrap_or(f32::NAN)),
                None => (name, f32::NAN),
            };
            let mut image = source.clone();
            match op {
                "brightness_v1" => color::brightness_v1(&mut image, value),
                "brightness_v2" => color::brightness(&mut image, value),
                "contrast" => color::contrast(&mut image, 3, value),
                "saturation" => color::saturation(&mut image, value),
                "hue" => color::hue(&mut image, value),
                "grayscale" => color::grayscale(&mut image),
                _ => continue,
            }
            if op.starts_with("brightness") {
                color::clip(&mut image);
            }
            let tolerance = if op == "hue" { HUE } else { OPS };
            assert_within(&format!("{file} {name}"), &interleaved(&image, 3), &golden.get(name).1, tolerance);
            seen += 1;
        }
        assert!(seen >= 6, "{file}: only {seen} operations");
        // The four in turn, clipped after each.
        let p = &golden.get("chain.params").1;
        let mut image = source;
        color::brightness(&mut image, p[0]);
        color::clip(&mut image);
        color::contrast(&mut image, 3, p[1]);
        color::clip(&mut image);
        color::saturation(&mut image, p[2]);
        color::clip(&mut image);
        color::hue(&mut image, p[3]);
        color::clip(&mut image);
        assert_within(&format!("{file} chain"), &interleaved(&image, 3), &golden.get("chain").1, HUE);
    }
}

#[test]
fn blurs() {
    for file in golden_files("augment_ops") {
        let golden = Golden::load(&file);
        let mut seen = 0;
        for name in golden.names().filter(|n| n.starts_with("blur.") && n.contains(".sigma")) {
            let (size, sigma) = name.strip_prefix("blur.").unwrap().split_once(".sigma").unwrap();
            let (shape, input) = golden.get(&format!("blur.{size}.input"));
            let mut image = planar(input, 3);
            let weights = blur::weights(blur::radius(size.parse().unwrap()), sigma.parse().unwrap());
            blur::gaussian(&mut image, (shape[0], shape[1]), &weights, &mut Vec::new());
            assert_within(&format!("{file} {name}"), &interleaved(&image, 3), &golden.get(name).1, OPS);
            seen += 1;
        }
        assert!(seen > 0);
    }
}

/// The named entries of the statistics.
fn statistics() -> impl Iterator<Item = (String, serde_json::Value)> {
    golden_json("augment_stats").into_iter().flat_map(|file| file.as_object().unwrap().clone())
}

#[test]
fn crops_have_the_reference_distribution() {
    let mut seen = 0;
    for (name, want) in statistics() {
        let Some((height, width)) = name.split_once('x').and_then(|(h, w)| Some((h.parse().ok()?, w.parse().ok()?)))
        else {
            continue;
        };
        let (height, width): (usize, usize) = (height, width);
        let n = want["n"].as_u64().unwrap() as usize;
        let mut rng = Rng::stream(1, Purpose::Test, &[width as u64, height as u64]);
        let crops: Vec<Rect> = (0..n).map(|_| crop::random(height, width, 0.08, &mut rng)).collect();
        // Of a crop and the image's height and width.
        type Figure = fn(&Rect, f64, f64) -> f64;
        let figures: [(&str, Figure); 4] = [
            ("area", |r, h, w| (r.height * r.width) as f64 / (h * w)),
            ("aspect", |r, _, _| r.width as f64 / r.height as f64),
            ("center_y", |r, h, _| (r.y as f64 + r.height as f64 / 2.0) / h),
            ("center_x", |r, _, w| (r.x as f64 + r.width as f64 / 2.0) / w),
        ];
        let probabilities: Vec<f64> =
            want["quantiles"].as_array().unwrap().iter().map(|q| q.as_f64().unwrap()).collect();
        for (figure, value) in figures {
            let mut ours: Vec<f64> = crops.iter().map(|r| value(r, height as f64, width as f64)).collect();
            ours.sort_by(f64::total_cmp);
            for (p, theirs) in probabilities.iter().zip(want[figure].as_array().unwrap()) {
                let theirs = theirs.as_f64().unwrap();
                // Both are samples of `n`: the share of ours below (and at) their quantile is p within five standard
                // errors of a difference of two such shares.
                let error = 5.0 * (2.0 * p * (1.0 - p) / n as f64).sqrt();
                let below = ours.partition_point(|v| *v < theirs - 1e-9) as f64 / n as f64;
                let at = ours.partition_point(|v| *v <= theirs + 1e-9) as f64 / n as f64;
                let off = (below - p).max(p - at).max(0.0);
                assert!(
                    off <= error,
                    "{name} {figure}: quantile {p} is {theirs} there; of ours {below} lie below and {at} not above"
                );
                log(&format!("{name} {figure}"), n, "share of draws", off, error);
            }
        }
        let areas: Vec<f64> = crops.iter().map(|r| (r.height * r.width) as f64 / (height * width) as f64).collect();
        let mean = areas.iter().sum::<f64>() / n as f64;
        let variance = areas.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / n as f64;
        let whole = areas.iter().filter(|a| **a == 1.0).count() as f64 / n as f64;
        for (figure, ours, variance) in
            [("mean_area", mean, variance), ("whole_image_fraction", whole, whole.max(1.0 / n as f64))]
        {
            let (off, error) =
                ((ours - want[figure].as_f64().unwrap()).abs(), 5.0 * (2.0 * variance / n as f64).sqrt());
            assert!(off <= error, "{name} {figure}: {ours}, off by {off}, allowed {error}");
            log(&format!("{name} {figure}"), n, "of the whole", off, error);
        }
        seen += 1;
    }
    assert!(seen > 0, "no crops in the statistics");
}

#[test]
fn views_have_the_reference_distribution() {
    let golden = Golden::load("augment_stats_image.safetensors");
    let (height, width, data) = bytes(&golden, "u8");
    let image = ImageRef { height, width, channels: 3, data: &data };
    let mut seen = 0;
    for (name, want) in statistics() {
        let Some(strength) = name.strip_prefix("train_strength_").and_then(|s| s.parse::<f32>().ok()) else { continue };
        let jittered = strength > 0.0;
        let config = AugmentConfig {
            color_strength: strength,
            color_probability: if jittered { 0.8 } else { 0.0 },
            grayscale_probability: if jittered { 0.2 } else { 0.0 },
            blur_probability: 0.0,
            ..AugmentConfig::default()
        };
        let (maker, n) = (ViewMaker::contrastive(&config, SIDE).unwrap(), 16_000);
        let mut figures = [(); 6].map(|()| Vec::with_capacity(n));
        let (mut gray, mut out) = (0, vec![0.0; SIDE * SIDE * 3]);
        for i in 0..n {
            maker.view(image, &Rng::stream(2, Purpose::Test, &[i as u64]), &mut out);
            for c in 0..3 {
                let plane = || out.iter().skip(c).step_by(3).map(|v| f64::from(*v));
                let mean = plane().sum::<f64>() / (SIDE * SIDE) as f64;
                let variance = plane().map(|v| (v - mean).powi(2)).sum::<f64>() / (SIDE * SIDE) as f64;
                figures[c].push(mean);
                figures[3 + c].push(variance.sqrt());
            }
            gray += usize::from(out.chunks(3).all(|p| (p[0] - p[1]).abs().max((p[1] - p[2]).abs()) < 1e-5));
        }
        let theirs = want["n"].as_f64().unwrap();
        let within = |got: f64, p: f64, what: &str| {
            // Five standard errors of a difference of two shares.
            let error = 5.0 * (p * (1.0 - p) * (1.0 / n as f64 + 1.0 / theirs)).sqrt();
            assert!((got - p).abs() <= error, "{name} {what}: {got} of ours against {p} of theirs, allowed {error}");
            log(&format!("{name} {what}"), n, "share of draws", (got - p).abs(), error);
        };
        let quantiles: Vec<f64> = want["quantiles"].as_array().unwrap().iter().map(|q| q.as_f64().unwrap()).collect();
        for (i, ours) in figures.iter().enumerate() {
            let figure = ["channel_mean", "channel_std"][i / 3];
            for (p, theirs) in quantiles.iter().zip(want[figure][i % 3].as_array().unwrap()) {
                let theirs = theirs.as_f64().unwrap();
                let below = ours.iter().filter(|v| **v < theirs).count() as f64 / n as f64;
                within(below, *p, &format!("{figure} of channel {} at quantile {p}", i % 3));
            }
        }
        within(gray as f64 / n as f64, want["grayscale_fraction"].as_f64().unwrap(), "share of gray views");
        seen += 1;
    }
    assert!(seen > 0, "no views in the statistics");
}
