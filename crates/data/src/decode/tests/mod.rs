//! Tests of decoding: formats, colour spaces, limits, hostile bytes.
#![allow(clippy::unwrap_used)]

mod formats;
mod pixels;

use super::raster::luma;
use super::*;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use simclr_core::rng::{Purpose, Rng};

/// A smooth picture: a coarse code keeps it nearly as it is.
fn smooth(height: usize, width: usize, channels: usize) -> Vec<u8> {
    let at = |i: usize| (i / channels % width * 3 + i / channels / width * 2 + i % channels * 40) as u8;
    (0..height * width * channels).map(at).collect()
}

fn color(channels: usize) -> ExtendedColorType {
    if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 }
}

fn jpeg_of(height: usize, width: usize, channels: usize) -> Vec<u8> {
    let (mut file, data) = (Vec::new(), smooth(height, width, channels));
    let encoder = JpegEncoder::new_with_quality(&mut file, 100);
    encoder.write_image(&data, width as u32, height as u32, color(channels)).unwrap();
    file
}

fn png_of(data: &[u8], height: usize, width: usize, color: ExtendedColorType) -> Vec<u8> {
    let mut file = Vec::new();
    PngEncoder::new(&mut file).write_image(data, width as u32, height as u32, color).unwrap();
    file
}

fn webp_of(height: usize, width: usize) -> Vec<u8> {
    let (mut file, data) = (Vec::new(), smooth(height, width, 3));
    WebPEncoder::new_lossless(&mut file).write_image(&data, width as u32, height as u32, color(3)).unwrap();
    file
}

fn of_pixels(max_pixels: u64) -> Options {
    Options { max_pixels, ..Options::default() }
}

fn message(bytes: &[u8], max_pixels: u64) -> String {
    format!("{:#}", decode(bytes, 3, &of_pixels(max_pixels)).map(|_| ()).unwrap_err())
}

fn far(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

#[test]
fn three_formats_in_colour_and_grey() {
    let limits = Options::default();
    let colour = smooth(20, 33, 3);
    for file in [png_of(&colour, 20, 33, color(3)), webp_of(20, 33)] {
        let picture = decode(&file, 3, &limits).unwrap();
        assert_eq!((picture.height, picture.width, picture.channels), (20, 33, 3));
        assert_eq!(picture.data, colour);
        let grey: Vec<u8> = colour.chunks(3).map(|p| luma([p[0], p[1], p[2]])).collect();
        assert_eq!(decode(&file, 1, &limits).unwrap().data, grey);
        assert_eq!(size(&file).unwrap(), (20, 33));
    }
    let file = jpeg_of(20, 33, 3);
    assert_eq!(size(&file).unwrap(), (20, 33));
    let picture = decode(&file, 3, &limits).unwrap();
    assert!(far(&picture.data, &colour) < 24, "chroma of neighbours may be shared");
    let grey: Vec<u8> = colour.chunks(3).map(|p| luma([p[0], p[1], p[2]])).collect();
    assert!(far(&decode(&file, 1, &limits).unwrap().data, &grey) < 8);

    let plain = smooth(9, 17, 1);
    let tripled: Vec<u8> = plain.iter().flat_map(|v| [*v; 3]).collect();
    let (png, jpeg) = (png_of(&plain, 9, 17, color(1)), jpeg_of(9, 17, 1));
    assert_eq!(decode(&png, 1, &limits).unwrap().data, plain);
    assert_eq!(decode(&png, 3, &limits).unwrap().data, tripled);
    assert!(far(&decode(&jpeg, 1, &limits).unwrap().data, &plain) < 4);
    assert!(far(&decode(&jpeg, 3, &limits).unwrap().data, &tripled) < 4);
}

#[test]
fn sixteen_bits_are_rounded_and_transparency_is_dropped() {
    let limits = Options::default();
    let deep: Vec<u8> = [0u16, 127, 129, 257 * 9, 65535, 40000].iter().flat_map(|v| v.to_ne_bytes()).collect();
    let png = png_of(&deep, 1, 2, ExtendedColorType::Rgb16);
    assert_eq!(decode(&png, 3, &limits).unwrap().data, [0, 0, 1, 9, 255, 156]);
    let png = png_of(&[1, 2, 3, 0, 4, 5, 6, 128], 1, 2, ExtendedColorType::Rgba8);
    assert_eq!(decode(&png, 3, &limits).unwrap().data, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn one_pixel_is_a_picture() {
    for file in [jpeg_of(1, 1, 3), jpeg_of(1, 1, 1), png_of(&[0, 0, 0], 1, 1, color(3)), webp_of(1, 1)] {
        let picture = decode(&file, 3, &Options::default()).unwrap();
        assert_eq!((picture.height, picture.width, picture.data.len()), (1, 1, 3));
    }
}

/// A JPEG of components that are sampled so many times across and down, made of coefficients: `block` gives those of a
/// component's next block, in zigzag order and none of them 0 but the first, as many as there are. `transform` is that of
/// Adobe's marker: 0 for CMYK, 2 for YCCK.
fn coded(
    (height, width): (u16, u16),
    sampling: &[(u8, u8)],
    transform: Option<u8>,
    mut block: impl FnMut(usize) -> Vec<i32>,
) -> Vec<u8> {
    let mut file = vec![0xff, 0xd8];
    let mut segment = |marker: u8, body: &[u8]| {
        file.extend([0xff, marker]);
        file.extend((body.len() as u16 + 2).to_be_bytes());
        file.extend(body);
    };
    if let Some(transform) = transform {
        segment(0xee, &[b"Adobe".as_slice(), &[0, 100, 0, 0, 0, 0, transform]].concat());
    }
    segment(0xdb, &[[0].as_slice(), &[1; 64]].concat());
    let number = sampling.len() as u8;
    let components: Vec<u8> = (1..).zip(sampling).flat_map(|(c, (across, down))| [c, across << 4 | down, 0]).collect();
    let sides = [height.to_be_bytes(), width.to_be_bytes()].concat();
    segment(0xc0, &[&[8], sides.as_slice(), &[number], &components].concat());
    // Twelve codes of four bits, each the size of a number in bits: 0 to 11 of differences of means, 0 to 10 of the rest,
    // where 0 ends a block.
    let sizes: Vec<u8> = (0..12).collect();
    segment(0xc4, &[[0u8, 0, 0, 0, 12].as_slice(), &[0; 12], &sizes].concat());
    segment(0xc4, &[[0x10u8, 0, 0, 0, 11].as_slice(), &[0; 12], &sizes[..11]].concat());
    let components: Vec<u8> = (1..=number).flat_map(|c| [c, 0]).collect();
    segment(0xda, &[&[number], components.as_slice(), &[0, 63, 0]].concat());

    let mut bits = String::new();
    let mut write = |number: i32| {
        let size = 32 - number.unsigned_abs().leading_zeros();
        bits += &format!("{size:04b}");
        if size > 0 {
            let code = if number < 0 { number + (1 << size) - 1 } else { number };
            bits += &format!("{code:0width$b}", width = size as usize);
        }
    };
    let most = |side: fn(&(u8, u8)) -> u8| 8 * usize::from(sampling.iter().map(side).max().unwrap());
    let groups = usize::from(height).div_ceil(most(|s| s.1)) * usize::from(width).div_ceil(most(|s| s.0));
    let mut means = vec![0; sampling.len()];
    for _ in 0..groups {
        for (c, (across, down)) in sampling.iter().enumerate() {
            for _ in 0..across * down {
                let numbers = block(c);
                write(numbers[0] - std::mem::replace(&mut means[c], numbers[0]));
                numbers[1..].iter().for_each(|number| write(*number));
                if numbers.len() < 64 {
                    write(0);
                }
            }
        }
    }
    while !bits.len().is_multiple_of(8) {
        bits += "1";
    }
    for i in (0..bits.len()).step_by(8) {
        let byte = u8::from_str_radix(&bits[i..i + 8], 2).unwrap();
        file.push(byte);
        if byte == 0xff {
            file.push(0);
        }
    }
    file.extend([0xff, 0xd9]);
    file
}

/// A JPEG whose four components are flat: `[C, M, Y, K]` as Adobe's programs store them, inverted.
fn four_components(values: [u8; 4], transform: u8) -> Vec<u8> {
    // A block's mean, scaled by 8, and nothing else.
    coded((8, 8), &[(1, 1); 4], Some(transform), |c| vec![(i32::from(values[c]) - 128) * 8])
}

#[test]
fn four_component_jpegs_become_rgb() {
    let product = |c: u8, k: u8| (f32::from(c) * f32::from(k) / 255.0).round() as u8;
    let picture = decode(&four_components([200, 100, 40, 128], 0), 3, &Options::default()).unwrap();
    assert_eq!((picture.height, picture.width), (8, 8));
    let want: Vec<u8> = [200, 100, 40].map(|c| product(c, 128)).repeat(64);
    assert!(far(&picture.data, &want) <= 1, "{:?}", &picture.data[..3]);
    // YCCK: luma 100 without chroma is RGB (100, 100, 100), the complement of the stored CMY.
    let picture = decode(&four_components([100, 128, 128, 204], 2), 3, &Options::default()).unwrap();
    let want = [product(155, 204); 3].repeat(64);
    assert!(far(&picture.data, &want) <= 1, "{:?} for {:?}", &picture.data[..3], &want[..3]);
    let grey = decode(&four_components([200, 100, 40, 128], 0), 1, &Options::default()).unwrap();
    assert_eq!(grey.data.len(), 64);
    assert!(grey.data[0].abs_diff(luma([100, 50, 20])) <= 1);
}

/// The decoder has kernels for AVX2 and for NEON beside plain code, and no switch between them. These sums of pixels are
/// those of its plain code: every processor must come to them.
#[test]
fn pixels_of_jpegs_are_the_same_on_every_processor() {
    /// Name, sampling of each component, colour transform, sum of the pixels.
    type Case = (&'static str, &'static [(u8, u8)], Option<u8>, u64);
    const FLAT: (u8, u8) = (1, 1);
    let cases: [Case; 7] = [
        ("gray", &[FLAT], None, 0x9c33_c99c_085e_051a),
        ("4:4:4", &[FLAT; 3], None, 0xa771_ea91_8fe8_8d1a),
        ("4:2:2", &[(2, 1), FLAT, FLAT], None, 0x31c5_cd04_14db_47a4),
        ("4:4:0", &[(1, 2), FLAT, FLAT], None, 0xb09c_6699_ecf8_7ca9),
        ("4:2:0", &[(2, 2), FLAT, FLAT], None, 0x0420_d7f4_d995_e8af),
        ("4:1:1", &[(4, 1), FLAT, FLAT], None, 0x8f52_a7d0_e28c_d005),
        ("YCCK", &[FLAT; 4], Some(2), 0x56a9_3c2b_6db8_3bdf),
    ];
    for (name, sampling, transform, want) in cases {
        let mut rng = Rng::stream(2, Purpose::Test, &[]);
        let mut sum = 0xcbf2_9ce4_8422_2325u64;
        for size in [(48, 80), (37, 53), (19, 17), (9, 100)] {
            let file = coded(size, sampling, transform, |_| {
                // Kernels differ by how much of a block there is; some blocks leave 0..255.
                let length = [1, 1 + rng.below(10), 64][rng.below(3)];
                let mut number = |k: usize| (1 + rng.below(1 + 400 / k) as i32) * if rng.chance(0.5) { -1 } else { 1 };
                let mean = number(1) * 2;
                [mean].into_iter().chain((1..length).map(number)).collect()
            });
            let picture = decode(&file, 3, &Options::default()).unwrap();
            sum = picture.data.iter().fold(sum, |sum, v| (sum ^ u64::from(*v)).wrapping_mul(0x0100_0000_01b3));
        }
        assert_eq!(sum, want, "{name}: {sum:#018x}");
    }
}

#[test]
fn exif_orientation_is_ignored() {
    let plain = jpeg_of(6, 10, 3);
    let tiff =
        [b"Exif\0\0II*\0\x08\0\0\0\x01\0".as_slice(), &[0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]].concat();
    let mut turned = plain[..2].to_vec();
    turned.extend([0xff, 0xe1]);
    turned.extend((tiff.len() as u16 + 2).to_be_bytes());
    turned.extend(tiff);
    turned.extend(&plain[2..]);
    assert_eq!(decode(&turned, 3, &Options::default()).unwrap(), decode(&plain, 3, &Options::default()).unwrap());
}

#[test]
fn pixels_are_counted_before_they_are_decoded() {
    for file in [jpeg_of(20, 33, 3), png_of(&smooth(20, 33, 3), 20, 33, color(3)), webp_of(20, 33)] {
        assert!(decode(&file, 3, &of_pixels(660)).is_ok());
        assert!(message(&file, 659).contains("20x33 are 660 pixels, data.max_pixels allows 659"));
    }
    // Bombs: headers that name a huge picture, with next to nothing behind them.
    let mut jpeg = jpeg_of(8, 8, 3);
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    assert!(message(&jpeg, 100_000_000).contains("65535x65535"), "{}", message(&jpeg, 100_000_000));
    let mut png = png_of(&[0; 64], 8, 8, color(1));
    png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    assert!(decode(&png, 3, &Options::default()).is_err());
}

#[test]
fn bytes_that_are_no_picture_say_so() {
    assert_eq!(message(&[], 100), "the file is empty");
    assert!(message(b"GARBAGE", 100).contains("none of the known kinds of pictures: JPEG, PNG, "));
    for file in [jpeg_of(40, 40, 3), png_of(&smooth(40, 40, 3), 40, 40, color(3)), webp_of(40, 40)] {
        for part in [4, 12, file.len() / 2] {
            let text = message(&file[..part], 100_000);
            assert!(text.contains("not a whole") || text.contains("none of"), "{part}: {text}");
        }
    }
    // A thumbnail within the header has an end marker of its own.
    let (whole, inner) = (jpeg_of(16, 16, 3), jpeg_of(4, 4, 3));
    let mut file = whole[..2].to_vec();
    file.extend([0xff, 0xe1]);
    file.extend((inner.len() as u16 + 2).to_be_bytes());
    file.extend(inner);
    file.extend(&whole[2..]);
    assert!(decode(&file, 3, &Options::default()).is_ok());
    assert!(message(&file[..file.len() - 2], 1000).contains("breaks off"));
    assert!(decode(&[file, vec![0; 7]].concat(), 3, &Options::default()).is_ok(), "zeros after the end do no harm");
}

/// Thousands of damaged files: an error or a picture of the right length, and no panic.
#[test]
fn mutated_files_are_errors_or_pictures() {
    let files =
        [jpeg_of(24, 31, 3), four_components([1, 2, 3, 4], 0), png_of(&smooth(9, 9, 3), 9, 9, color(3)), webp_of(9, 9)];
    let mut rng = Rng::stream(1, Purpose::Test, &[]);
    for round in 0..4000 {
        let mut file = files[round % files.len()].clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(file.len());
            file[at] = rng.next_u64() as u8;
        }
        file.truncate(file.len() - rng.below(3) * rng.below(file.len()) / 2);
        if let Ok(picture) = decode(&file, 3, &of_pixels(1 << 20)) {
            assert_eq!(picture.data.len(), picture.height * picture.width * 3);
        }
    }
}
