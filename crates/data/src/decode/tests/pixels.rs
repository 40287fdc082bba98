//! Tests of what pixels become: ranges, channels, orientation, what breaks off.

use super::formats::{npy_of, tiff_of};
use super::*;
use image::DynamicImage;
use image::metadata::Orientation;
use simclr_core::config::{EachRange, Range, Truncated};

const EACH: Option<Range> = Some(Range::Each(EachRange::MinMax));

fn ranged(file: &[u8], channels: usize, range: Option<Range>) -> Vec<u8> {
    decode(file, channels, &Options { range, ..Options::default() }).unwrap().data
}

fn fixed(black: f64, white: f64) -> Option<Range> {
    Some(Range::Fixed([black, white]))
}

#[test]
fn twelve_bits_in_sixteen_come_out_by_a_range() {
    let deep: Vec<u16> = (0..64 * 64).collect();
    let bytes = |order: fn(u16) -> [u8; 2]| deep.iter().flat_map(|v| order(*v)).collect::<Vec<u8>>();
    let want: Vec<u8> = deep.iter().map(|v| (f64::from(*v) / 4095.0 * 255.0).round() as u8).collect();
    let png = png_of(&bytes(u16::to_ne_bytes), 64, 64, ExtendedColorType::L16);
    let tiff = tiff_of(64, 64, &[16], &[(262, &[1])], &bytes(u16::to_le_bytes));
    let npy = npy_of("<u2", false, "(64, 64)", &bytes(u16::to_le_bytes));
    for file in [png, tiff, npy] {
        assert_eq!(ranged(&file, 1, fixed(0.0, 4095.0)), want);
        assert_eq!(ranged(&file, 1, EACH), want);
        // As before where no range is asked for: nearly black.
        assert_eq!(
            ranged(&file, 1, None),
            deep.iter().map(|v| ((u32::from(*v) + 128) / 257) as u8).collect::<Vec<_>>()
        );
    }
    let bright = png_of(&[7, 200], 1, 2, ExtendedColorType::L8);
    assert_eq!(ranged(&bright, 1, fixed(0.0, 50.0)), [7, 200], "8 bits are not of more than 8 bits");
}

#[test]
fn what_is_beyond_a_range_or_no_number_has_an_end() {
    let numbers = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -5.0, 0.0, 1.0, 2.0, 9.0];
    let file = npy_of("<f4", false, "(2, 4)", &numbers.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    assert_eq!(ranged(&file, 1, fixed(0.0, 2.0)), [0, 255, 0, 0, 0, 128, 255, 255]);
    assert_eq!(ranged(&file, 1, EACH), [0, 255, 0, 0, 91, 109, 128, 255], "the least and the largest are finite");
    let flat = npy_of("<f4", false, "(1, 2)", &[0; 8]);
    assert_eq!(ranged(&flat, 1, EACH), [0, 0]);
    let text = format!("{:#}", decode(&file, 1, &Options::default()).unwrap_err());
    assert!(text.contains("floats") && text.contains("data.range = [0.0, 1.0]") && text.contains("minmax"), "{text}");
}

#[test]
fn transparency_is_no_colour() {
    let deep: Vec<u8> = [100u16, 200, 300, 65535].iter().flat_map(|v| v.to_ne_bytes()).collect();
    let png = png_of(&deep, 1, 1, ExtendedColorType::Rgba16);
    assert_eq!(ranged(&png, 4, EACH), [0, 128, 255, 255]);
    assert_eq!(ranged(&png, 3, EACH), [0, 128, 255]);
    assert_eq!(ranged(&png_of(&[1, 2, 3, 4], 1, 1, ExtendedColorType::Rgba8), 4, None), [1, 2, 3, 4]);
}

#[test]
fn other_channels_are_not_made_up() {
    let text = |file: &[u8], channels| format!("{:#}", decode(file, channels, &Options::default()).unwrap_err());
    let opaque = png_of(&[1, 2, 3], 1, 1, color(3));
    assert!(text(&opaque, 4).contains("it has 3 channels and data.channels asks for 4"), "{}", text(&opaque, 4));
    let clear = png_of(&[1, 2, 3, 4], 1, 1, ExtendedColorType::Rgba8);
    assert!(text(&clear, 5).contains("it has 4 channels, the last of them transparency, and data.channels asks for 5"));
    assert!(text(&jpeg_of(8, 8, 3), 2).contains("it has 3 channels"));
    assert!(text(&jpeg_of(8, 8, 1), 5).contains("it has 1 channel and"));
    assert!(text(&opaque, 17).contains("1 to 16 channels"));
}

/// A JPEG with this orientation in its EXIF data.
fn turned(plain: &[u8], orientation: u8) -> Vec<u8> {
    let exif = [0x12, 1, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0, 0, 0, 0, 0];
    let tiff = [b"Exif\0\0II*\0\x08\0\0\0\x01\0".as_slice(), &exif].concat();
    [&plain[..2], &[0xff, 0xe1], &(tiff.len() as u16 + 2).to_be_bytes(), &tiff, &plain[2..]].concat()
}

#[test]
fn a_turned_photo_equals_its_upright_twin() {
    let upright = Options { orientation: true, ..Options::default() };
    let (jpeg, pixels) = (jpeg_of(16, 24, 3), smooth(16, 24, 3));
    let stored = decode(&jpeg, 3, &Options::default()).unwrap().data;
    let twin = |pixels: &[u8], orientation: u8| {
        let mut picture = DynamicImage::ImageRgb8(image::RgbImage::from_raw(24, 16, pixels.to_vec()).unwrap());
        picture.apply_orientation(Orientation::from_exif(orientation).unwrap());
        picture
    };
    for orientation in 1..=8 {
        let want = twin(&stored, orientation);
        let got = decode(&turned(&jpeg, orientation), 3, &upright).unwrap();
        assert_eq!((got.width, got.height), (want.width() as usize, want.height() as usize), "{orientation}");
        assert_eq!(got.data, want.into_rgb8().into_raw(), "{orientation}");
        let off = decode(&turned(&jpeg, orientation), 3, &Options::default()).unwrap();
        assert_eq!((off.height, &off.data), (16, &stored), "{orientation}: the reference does not turn");
        let tiff = tiff_of(16, 24, &[8; 3], &[(262, &[2]), (274, &[u16::from(orientation)])], &pixels);
        assert_eq!(decode(&tiff, 3, &upright).unwrap().data, twin(&pixels, orientation).into_rgb8().into_raw());
    }
    // Five channels turn as three do.
    let five: Vec<u8> = (0..2 * 3 * 5).collect();
    let tiff = tiff_of(2, 3, &[8; 5], &[(262, &[1]), (274, &[6]), (338, &[0; 4])], &five);
    let got = decode(&tiff, 5, &upright).unwrap();
    assert_eq!((got.height, got.width, &got.data[..5]), (3, 2, &five[15..20]), "the lower left comes to the top");
    for bad in [0, 9, 255] {
        assert_eq!(decode(&turned(&jpeg, bad), 3, &upright).unwrap().data, stored, "{bad} is no orientation");
    }
}

#[test]
fn what_breaks_off_is_kept_to_its_last_row_where_it_is_asked_for() {
    let keep = Options { truncated: Truncated::Keep, ..Options::default() };
    let steps = |sampling: &[(u8, u8)]| {
        let mut number = 0;
        coded((64, 48), sampling, None, |_| {
            number += 1;
            vec![(number * 37 % 200 - 100) * 8, 30, -20]
        })
    };
    let coarse = [(1, 1), (2, 1), (2, 1)];
    for (file, channels) in
        [(steps(&[(1, 1)]), 1), (steps(&[(1, 1); 3]), 3), (steps(&[(2, 2), (1, 1), (1, 1)]), 3), (steps(&coarse), 3)]
    {
        let whole = decode(&file, channels, &Options::default()).unwrap();
        assert_eq!(decode(&file, channels, &keep).unwrap(), whole, "what is whole stays as it is");
        let short = &file[..file.len() - 2];
        assert_eq!(decode(short, channels, &keep).unwrap(), whole, "only its end marker is missing");
        assert!(message(short, 1 << 20).contains("breaks off"), "{}", message(short, 1 << 20));
        let half = decode(&file[..file.len() * 2 / 3], channels, &keep).unwrap();
        assert_eq!((half.height, half.width), (64, 48));
        let row = 15 * 48 * channels;
        assert!(half.data[..row] == whole.data[..row], "the first rows are there");
        assert!(half.data[half.data.len() - row..] != whole.data[whole.data.len() - row..]);
    }
    let pixels: Vec<u8> = (0..64 * 48 * 3).map(|i| (i * i / 7 % 251) as u8).collect();
    let png = png_of(&pixels, 64, 48, color(3));
    let half = &png[..png.len() / 2];
    let got = decode(half, 3, &keep).unwrap().data;
    let rows = got.chunks(48 * 3).zip(pixels.chunks(48 * 3)).take_while(|(a, b)| a == b).count();
    assert!((10..60).contains(&rows) && got.ends_with(&[0; 48 * 3]), "{rows} rows are there, the rest is black");
    assert!(decode(half, 3, &Options::default()).is_err());
    // Nothing of a picture is none.
    for part in [jpeg_of(16, 16, 3)[..30].to_vec(), png[..40].to_vec()] {
        assert!(decode(&part, 3, &keep).is_err());
    }
}
