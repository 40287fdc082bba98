//! Tests of whole views: ranges, randomness, the GPU's share, lists of one's own.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::view::central_crop::CentralCrop;
use crate::view::flip::Flip;
use crate::view::{blur, color};
use simclr_core::config::{AugmentConfig, Crop, EvalConfig, Resize};
use simclr_core::rng::Purpose;

fn view(maker: &ViewMaker, channels: usize, side: usize, draw: u64) -> Vec<f32> {
    let data: Vec<u8> = (0..side * side * channels).map(|i| (i * i * 31 % 251) as u8).collect();
    let mut out = vec![f32::NAN; maker.size() * maker.size() * channels];
    let rng = Rng::stream(0, Purpose::Test, &[draw]);
    maker.view(ImageRef { height: side, width: side, channels, data: &data }, &rng, &mut out);
    out
}

#[test]
fn views_are_in_range_reproducible_and_random() {
    for channels in [1, 3] {
        for maker in
            [ViewMaker::contrastive(&AugmentConfig::default(), 40).unwrap(), ViewMaker::labeled(0.2, 0.5, true, 24)]
        {
            let views: Vec<_> = (0..64).map(|i| view(&maker, channels, 32, i)).collect();
            assert!(views.iter().flatten().all(|x| (0.0..=1.0).contains(x)));
            assert_eq!(views[3], view(&maker, channels, 32, 3));
            assert!(views[1..].iter().all(|v| v != &views[0]));
        }
    }
}

/// What a GPU does, on planes `[3, S, S]`.
fn distort(distortion: &Distortion, planes: &mut [f32], side: usize) {
    if let Some(ops) = &distortion.jitter {
        color::jitter(planes, 3, ops);
    }
    if distortion.grayscale {
        color::grayscale(planes);
    }
    if !distortion.blur.is_empty() {
        color::clip(planes);
        blur::gaussian(planes, (side, side), &distortion.blur, &mut Vec::new());
    }
}

#[test]
fn a_view_is_what_its_distortion_makes_of_it() {
    let config = AugmentConfig { grayscale_probability: 0.5, ..AugmentConfig::default() };
    let maker = ViewMaker::contrastive(&config, 40).unwrap();
    let data: Vec<u8> = (0..48 * 48 * 3).map(|i| (i * i * 31 % 251) as u8).collect();
    let image = ImageRef { height: 48, width: 48, channels: 3, data: &data };
    let mut overshoots = 0;
    for draw in 0..32 {
        let stream = || Rng::stream(3, Purpose::Test, &[draw]);
        let (mut whole, mut rest) = (vec![0.0; 40 * 40 * 3], vec![0.0; 40 * 40 * 3]);
        maker.view(image, &stream(), &mut whole);
        let distortion = maker.view_for_gpu(image, &stream(), &mut rest);
        overshoots += usize::from(rest.iter().any(|v| !(0.0..=1.0).contains(v)));
        let mut planes: Vec<f32> = (0..3).flat_map(|k| rest.iter().skip(k).step_by(3).copied()).collect();
        distort(&distortion, &mut planes, 40);
        interleave(&planes, 3, &mut rest, |v| v.clamp(0.0, 1.0));
        assert!(rest == whole, "draw {draw}");
    }
    assert!(overshoots > 0, "bicubic views are handed on as they are, not clipped");
}

#[test]
fn evaluation_crops_large_views_only_and_draws_nothing() {
    let (config, uncropped) = (EvalConfig::default(), EvalConfig { crop: Crop::Center(1.0), ..EvalConfig::default() });
    let whole = view(&ViewMaker::eval(&config, 32), 3, 64, 0);
    assert_eq!(whole, view(&ViewMaker::eval(&uncropped, 32), 3, 64, 1));
    let cropped = view(&ViewMaker::eval(&config, 56), 3, 64, 0);
    // 0.875 of 64 is 56: the crop itself, from (4, 4).
    let first = (4 * 64 + 4) * 3;
    assert!((cropped[0] - (first * first * 31 % 251) as f32 / 255.0).abs() < 1e-6);
}

#[test]
fn probabilities_are_those_of_the_configuration() {
    let config = AugmentConfig {
        color_strength: 0.0,
        grayscale_probability: 0.3,
        blur_probability: 0.0,
        ..AugmentConfig::default()
    };
    let maker = ViewMaker::contrastive(&config, 8).unwrap();
    let gray = |v: &[f32]| v.chunks(3).all(|p| p[0] == p[1] && p[1] == p[2]);
    let count = (0..2000).filter(|&i| gray(&view(&maker, 3, 16, i))).count();
    assert!((540..660).contains(&count), "{count} of 2000 are gray");
}

#[test]
fn views_of_a_pictures_own_size_are_its_bytes() {
    // Every byte, at least once in each channel.
    for (side, channels) in [(32, 3), (20, 1)] {
        let data: Vec<u8> = (0..side * side * channels).map(|i| (i / channels * 7 + i % channels * 85) as u8).collect();
        let image = ImageRef { height: side, width: side, channels, data: &data };
        for resize in [Resize::Tf2, Resize::Tf1] {
            for flips in [0.0, 1.0] {
                let crop: Box<dyn Transform> = Box::new(CentralCrop { share: 1.0, resize });
                let maker = ViewMaker::new(vec![crop, Box::new(Flip { probability: flips })], side);
                assert!(maker.keeps_pixels((side, side), false));
                let rng = Rng::stream(0, Purpose::Test, &[]);
                let (mut floats, mut bytes) = (vec![f32::NAN; data.len()], vec![0; data.len()]);
                maker.view(image, &rng, &mut floats);
                maker.view(image, &rng, &mut bytes);
                let mut want = data.clone();
                if flips == 1.0 {
                    want.chunks_exact_mut(side * channels).for_each(|row| {
                        let pixels: Vec<u8> = row.rchunks_exact(channels).flatten().copied().collect();
                        row.copy_from_slice(&pixels);
                    });
                }
                assert!(bytes == want, "{resize:?}, {flips}");
                // What the GPU's kernel gives.
                let scaled = want.iter().map(|byte| f32::from(*byte) * (1.0 / 255.0));
                assert!(floats.iter().zip(scaled).all(|(a, b)| a.to_bits() == b.to_bits()), "{resize:?}, {flips}");
            }
        }
    }
}

#[test]
fn whether_views_keep_pixels_is_known_beforehand() {
    for (list, size, unfinished, keeps) in [
        (r#"["central_crop"]"#, (64, 64), false, true),
        (r#"["central_crop"]"#, (64, 80), false, true),
        (r#"["central_crop"]"#, (65, 65), false, false),
        (r#"["central_crop", "flip", "vertical_flip", "rotate"]"#, (64, 64), false, true),
        (r#"["central_crop", "solarize"]"#, (64, 64), false, false),
        (r#"["central_crop", "flip", "jitter"]"#, (64, 64), false, false),
        (r#"["central_crop", "flip", "jitter"]"#, (64, 64), true, true),
        (r#"["flip"]"#, (56, 56), false, true),
        (r#"["flip"]"#, (56, 64), false, false),
        (r#"["crop"]"#, (56, 56), false, false),
        ("[]", (56, 56), false, true),
    ] {
        assert_eq!(listed(list, 56).keeps_pixels(size, unfinished), keeps, "{list} of {size:?}");
    }
    let eval = ViewMaker::eval(&EvalConfig::default(), 32);
    assert!(eval.keeps_pixels((32, 32), false) && !eval.keeps_pixels((28, 28), false));
}

#[test]
fn views_are_rounded_as_they_are_written() {
    let maker = ViewMaker::contrastive(&AugmentConfig::default(), 40).unwrap();
    let data: Vec<u8> = (0..48 * 48 * 3).map(|i| (i * i * 31 % 251) as u8).collect();
    let image = ImageRef { height: 48, width: 48, channels: 3, data: &data };
    for draw in 0..8 {
        let rng = || Rng::stream(3, Purpose::Test, &[draw]);
        let n = 40 * 40 * 3;
        let (mut floats, mut bytes) = (vec![0.0f32; n], vec![0u8; n]);
        maker.view(image, &rng(), &mut floats);
        maker.view(image, &rng(), &mut bytes);
        let off = |(byte, v): (&u8, &f32)| (f32::from(*byte) / 255.0 - v).abs();
        assert!(bytes.iter().zip(&floats).map(off).all(|off| off < 0.501 / 255.0));
        // Before the GPU's work, overshoot is clipped in bytes, and is there in floats.
        let left = maker.view_for_gpu(image, &rng(), &mut floats);
        assert_eq!(left, maker.view_for_gpu(image, &rng(), &mut bytes));
        let clipped = floats.iter().map(|v| v.clamp(0.0, 1.0)).collect::<Vec<_>>();
        assert!(bytes.iter().zip(&clipped).map(off).all(|off| off < 0.501 / 255.0));
    }
}

/// The maker of a list in the form of an experiment file.
fn listed(list: &str, size: usize) -> ViewMaker {
    let config: AugmentConfig = serde_json::from_str(&format!("{{\"transforms\": {list}}}")).unwrap();
    ViewMaker::contrastive(&config, size).unwrap()
}

#[test]
fn the_recipe_is_a_list_like_any_other() {
    let config = AugmentConfig { color_strength: 0.5, blur_probability: 0.25, ..AugmentConfig::default() };
    let recipe = ViewMaker::contrastive(&config, 24).unwrap();
    let list = listed(
        r#"["crop", "flip", {"name": "jitter", "strength": 0.5}, "grayscale", {"name": "blur", "probability": 0.25}]"#,
        24,
    );
    for draw in 0..32 {
        assert_eq!(view(&recipe, 3, 32, draw), view(&list, 3, 32, draw), "draw {draw}");
    }
}

#[test]
fn one_more_transform_changes_the_draws_of_no_other() {
    let plain = listed(r#"["crop", "flip", "jitter", "grayscale", "blur", "flip"]"#, 24);
    // What is added draws, and changes nothing.
    let more = listed(
        r#"["crop", {"name": "rotate", "probability": 0.0}, "flip", {"name": "solarize", "probability": 0.0}, "jitter",
            {"name": "vertical_flip", "probability": 0.0}, "grayscale", "blur", "flip"]"#,
        24,
    );
    for draw in 0..64 {
        assert_eq!(view(&plain, 3, 32, draw), view(&more, 3, 32, draw), "draw {draw}");
    }
    // Two of one name have streams of their own: a quarter of the views is mirrored by both.
    let (once, twice) = (listed(r#"["central_crop", "flip"]"#, 24), listed(r#"["central_crop", "flip", "flip"]"#, 24));
    let same = (0..1000).filter(|&draw| view(&once, 3, 32, draw) == view(&twice, 3, 32, draw)).count();
    assert!((420..580).contains(&same), "the second flip mirrored {} of 1000", 1000 - same);
}

#[test]
fn the_gpu_gets_the_end_of_the_list_in_its_own_order() {
    for (list, here) in [
        (r#"["crop", "flip", "jitter", "grayscale", "blur"]"#, 2),
        (r#"["crop", "jitter", "blur"]"#, 1),
        (r#"["crop", "grayscale", "jitter", "blur"]"#, 2),
        (r#"["crop", "jitter", "grayscale", "blur", "solarize"]"#, 5),
        (r#"["jitter", "jitter"]"#, 1),
        ("[]", 0),
    ] {
        assert_eq!(listed(list, 16).on_gpu, here, "{list}");
    }
}

#[test]
fn new_transforms_do_what_they_say() {
    let plain = listed(r#"["central_crop"]"#, 12);
    let always = |name: &str| listed(&format!(r#"["central_crop", {{"name": "{name}", "probability": 1.0}}]"#), 12);
    let planes = |v: Vec<f32>| -> Vec<f32> {
        (0..3).flat_map(|k| v.iter().skip(k).step_by(3).copied().collect::<Vec<_>>()).collect()
    };
    let (before, at) = (planes(view(&plain, 3, 32, 0)), |k: usize, y: usize, x: usize| (k * 12 + y) * 12 + x);
    let upside_down = planes(view(&always("vertical_flip"), 3, 32, 0));
    let mirrored = planes(view(&always("flip"), 3, 32, 0));
    let solarized = planes(view(&always("solarize"), 3, 32, 0));
    for (k, y, x) in (0..3 * 144).map(|i| (i / 144, i / 12 % 12, i % 12)) {
        assert_eq!(upside_down[at(k, y, x)], before[at(k, 11 - y, x)]);
        assert_eq!(mirrored[at(k, y, x)], before[at(k, y, 11 - x)]);
        let v = before[at(k, y, x)];
        assert_eq!(solarized[at(k, y, x)], if v < 0.5 { v } else { 1.0 - v });
    }
    // Each of the four rotations is as likely: 500 of 2000 with a deviation of 19.
    let (maker, mut counts) = (always("rotate"), [0; 4]);
    let corners = [(0, 0), (0, 11), (11, 11), (11, 0)];
    for draw in 0..2000 {
        let turned = planes(view(&maker, 3, 32, draw));
        let turns = corners.iter().position(|&(y, x)| (0..3).all(|k| turned[at(k, 0, 0)] == before[at(k, y, x)]));
        counts[turns.unwrap()] += 1;
    }
    assert!(counts.iter().all(|count| (420..580).contains(count)), "{counts:?}");
    // Probabilities are those of the settings.
    let half = listed(r#"["central_crop", {"name": "vertical_flip", "probability": 0.3}]"#, 12);
    let flipped = (0..2000).filter(|&draw| planes(view(&half, 3, 32, draw)) == upside_down).count();
    assert!((500..700).contains(&flipped), "{flipped} of 2000 are upside down");
}
