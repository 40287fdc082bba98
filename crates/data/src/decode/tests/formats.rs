//! Tests of the formats beside JPEG, PNG and WebP, and of JPEGs that few programs write.

use super::*;
use ::tiff::encoder::{Compression, TiffEncoder, colortype};
use image::codecs::gif::GifEncoder;
use image::{Delay, DynamicImage, Frame, ImageFormat, RgbaImage};

/// A header of a BMP with `palette`, before `body`.
fn bmp_of(width: i32, height: i32, bits: u16, compression: u32, palette: &[u8], body: &[u8]) -> Vec<u8> {
    let start = 54 + palette.len() as u32;
    let mut file = b"BM".to_vec();
    for word in [start + body.len() as u32, 0, start, 40, width as u32, height as u32] {
        file.extend(word.to_le_bytes());
    }
    file.extend(1u16.to_le_bytes());
    file.extend(bits.to_le_bytes());
    for word in [compression, body.len() as u32, 0, 0, palette.len() as u32 / 4, 0] {
        file.extend(word.to_le_bytes());
    }
    [file.as_slice(), palette, body].concat()
}

/// An uncompressed TIFF of one strip; entries are a tag and its SHORT values, in ascending order.
pub(super) fn tiff_of(height: u16, width: u16, bits: &[u16], entries: &[(u16, &[u16])], body: &[u8]) -> Vec<u8> {
    let mut tags: Vec<(u16, Vec<u16>)> =
        vec![(256, vec![width]), (257, vec![height]), (258, bits.to_vec()), (259, vec![1])];
    tags.extend(entries.iter().map(|(tag, values)| (*tag, values.to_vec())));
    tags.extend([(277, vec![bits.len() as u16]), (278, vec![height]), (279, vec![body.len() as u16])]);
    // The pixels stand behind the directory and the values that do not fit into it.
    tags.push((273, vec![0]));
    tags.sort();
    let mut behind = 8 + 2 + 12 * tags.len() + 4;
    let long: usize = tags.iter().filter(|(_, values)| values.len() > 2).map(|(_, values)| 2 * values.len()).sum();
    let start = behind + long;
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((tags.len() as u16).to_le_bytes());
    let mut extra = Vec::new();
    for (tag, values) in &tags {
        let values: Vec<u8> = if *tag == 273 {
            (start as u16).to_le_bytes().into()
        } else {
            values.iter().flat_map(|v| v.to_le_bytes()).collect()
        };
        file.extend(tag.to_le_bytes());
        file.extend(3u16.to_le_bytes());
        file.extend((values.len() as u32 / 2).to_le_bytes());
        if values.len() > 4 {
            file.extend((behind as u32).to_le_bytes());
            behind += values.len();
            extra.extend(values);
        } else {
            file.extend(values.iter().copied().chain([0; 4]).take(4));
        }
    }
    file.extend([0; 4]);
    [file, extra, body.to_vec()].concat()
}

/// An array of NumPy of version 1.
pub(super) fn npy_of(descr: &str, fortran: bool, shape: &str, body: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\0".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes(), body].concat()
}

fn colours(file: &[u8], channels: usize) -> Vec<u8> {
    decode(file, channels, &Options::default()).unwrap().data
}

fn fails(file: &[u8], channels: usize) -> String {
    format!("{:#}", decode(file, channels, &Options::default()).map(|p| p.data).unwrap_err())
}

fn written(picture: DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    file.into_inner()
}

#[test]
fn formats_without_loss_give_their_pixels() {
    let (colour, plain) = (smooth(20, 33, 3), smooth(20, 33, 1));
    let tripled: Vec<u8> = plain.iter().flat_map(|v| [*v; 3]).collect();
    let rgb = DynamicImage::ImageRgb8(image::RgbImage::from_raw(33, 20, colour.clone()).unwrap());
    let gray = DynamicImage::ImageLuma8(image::GrayImage::from_raw(33, 20, plain.clone()).unwrap());
    for format in [ImageFormat::Bmp, ImageFormat::Pnm] {
        let (rgb, gray) = (written(rgb.clone(), format), written(gray.clone(), format));
        assert_eq!((colours(&rgb, 3), size(&rgb).unwrap()), (colour.clone(), (20, 33)), "{format:?}");
        assert_eq!((colours(&gray, 1), colours(&gray, 3)), (plain.clone(), tripled.clone()), "{format:?}");
    }
    let mut file = std::io::Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut file).unwrap().with_compression(Compression::Lzw);
    encoder.write_image::<colortype::RGB8>(33, 20, &colour).unwrap();
    assert_eq!(colours(file.get_ref(), 3), colour);
    assert_eq!(size(file.get_ref()).unwrap(), (20, 33));
}

#[test]
fn bmps_of_palettes_runs_and_other_orders_of_rows() {
    let palette = [[10, 20, 30, 0], [40, 50, 60, 0], [70, 80, 90, 0]].concat();
    // Two rows from the bottom: three of colour 1; one of colour 2, two of colour 0.
    let runs = [3, 1, 0, 0, 1, 2, 2, 0, 0, 1];
    let want = [[90, 80, 70], [30, 20, 10], [30, 20, 10], [60, 50, 40], [60, 50, 40], [60, 50, 40]].concat();
    assert_eq!(colours(&bmp_of(3, 2, 8, 1, &palette, &runs), 3), want);
    let plain = [1, 1, 1, 0, 2, 0, 0, 0];
    assert_eq!(colours(&bmp_of(3, 2, 8, 0, &palette, &plain), 3), want);
    // From the top, in 32 bits, of which the last are not transparency but room.
    let wide = [[70, 80, 90, 9], [10, 20, 30, 0], [10, 20, 30, 0], [40, 50, 60, 0], [40, 50, 60, 0], [40, 50, 60, 7]];
    assert_eq!(colours(&bmp_of(3, -2, 32, 0, &[], &wide.concat()), 3), want);
    assert!(fails(b"BMonkey business is no bitmap", 3).contains("none of the known kinds"));
}

#[test]
fn the_first_picture_of_an_animation_is_taken() {
    let frame = |shade: u8| {
        Frame::from_parts(
            RgbaImage::from_pixel(5, 4, [shade, 0, 9, 255].into()),
            0,
            0,
            Delay::from_numer_denom_ms(100, 1),
        )
    };
    let mut file = Vec::new();
    GifEncoder::new(&mut file).encode_frames([frame(200), frame(100)]).unwrap();
    assert_eq!(colours(&file, 3), [200, 0, 9].repeat(20));
}

#[test]
fn white_of_a_pnm_is_what_its_header_says() {
    let deep = [b"P5 2 2 4095\n".as_slice(), &[0, 0, 0x0f, 0xff, 8, 0, 4, 0]].concat();
    assert_eq!(colours(&deep, 1), [0, 255, 128, 64]);
    let range = Options { range: Some(simclr_core::config::Range::Fixed([0.0, 2048.0])), ..Options::default() };
    assert_eq!(decode(&deep, 1, &range).unwrap().data, [0, 255, 255, 128], "a range is one of the file's numbers");
    assert_eq!(colours(b"P2 3 1 15 0 15 5", 1), [0, 255, 85]);
    assert_eq!(colours(b"P1 3 1 0 1 0", 1), [255, 0, 255], "bits are ink");
}

#[test]
fn tiffs_of_many_kinds() {
    let gray = |meaning| tiff_of(1, 3, &[8], &[(262, &[meaning])], &[0, 9, 255]);
    assert_eq!((colours(&gray(1), 1), colours(&gray(0), 1)), (vec![0, 9, 255], vec![255, 246, 0]));
    let five: Vec<u8> = (0..30).collect();
    let file = tiff_of(2, 3, &[8; 5], &[(262, &[1]), (338, &[0; 4])], &five);
    assert_eq!(colours(&file, 5), five);
    let rgb_and_two = tiff_of(2, 3, &[8; 5], &[(262, &[2]), (338, &[0; 2])], &five);
    assert_eq!(colours(&rgb_and_two, 5), five, "what is beside the colours is a channel, too");
    let planes = tiff_of(2, 3, &[8; 5], &[(262, &[1]), (278, &[2]), (284, &[2]), (338, &[0; 4])], &five);
    assert!(decode(&planes, 5, &Options::default()).is_err(), "five planes need five strips");
    // Colours 0 and 2 of a palette of two bits, in 16 bits and in 8.
    for scale in [1, 257] {
        let map: Vec<u16> =
            [[1, 2, 3, 4], [10, 20, 30, 40], [100, 200, 150, 50]].concat().iter().map(|v| v * scale).collect();
        let file = tiff_of(1, 2, &[2], &[(262, &[3]), (320, &map)], &[0b0010_0000]);
        assert_eq!(colours(&file, 3), [1, 10, 100, 3, 30, 150]);
    }
    let bits = tiff_of(2, 9, &[1], &[(262, &[1])], &[0b1000_0001, 0b1000_0000, 0, 0]);
    assert_eq!(colours(&bits, 1), [[255, 0, 0, 0, 0, 0, 0, 255, 255], [0; 9]].concat());
    let inks = tiff_of(1, 1, &[8; 4], &[(262, &[5])], &[0, 51, 255, 51]);
    assert_eq!(colours(&inks, 3), [204, 163, 0]);
    let clear = tiff_of(1, 1, &[8; 2], &[(262, &[1]), (338, &[2])], &[77, 3]);
    assert_eq!((colours(&clear, 3), colours(&clear, 2)), (vec![77; 3], vec![77, 3]));
    let squeezed = tiff_of(1, 1, &[8], &[(262, &[1])], &[0]);
    let at = squeezed.windows(4).position(|w| w == [3, 1, 3, 0]).unwrap();
    let squeezed = [&squeezed[..at + 8], &[0x50, 0xc3], &squeezed[at + 10..]].concat();
    assert!(fails(&squeezed, 1).contains("save it anew"), "{}", fails(&squeezed, 1));
}

#[test]
fn arrays_in_every_order() {
    let pixels: Vec<u8> = (0..2 * 3 * 5).collect();
    let at = |y: usize, x: usize, c: usize| pixels[(y * 3 + x) * 5 + c];
    let mut first = Vec::new();
    let mut fortran = Vec::new();
    for c in 0..5 {
        for y in 0..2 {
            first.extend((0..3).map(|x| at(y, x, c)));
        }
        for x in 0..3 {
            fortran.extend((0..2).map(|y| at(y, x, c)));
        }
    }
    assert_eq!(colours(&npy_of("|u1", false, "(2, 3, 5)", &pixels), 5), pixels);
    assert_eq!(colours(&npy_of("|u1", false, "(5, 2, 3)", &first), 5), pixels);
    assert_eq!(colours(&npy_of("|u1", true, "(2, 3, 5)", &fortran), 5), pixels);
    assert_eq!(colours(&npy_of("|u1", false, "(1, 2)", &[3, 4]), 3), [3, 3, 3, 4, 4, 4]);
    assert_eq!(size(&npy_of("|u1", false, "(20, 30, 5)", &[])).unwrap(), (20, 30));
    // 16 bits of either order of bytes, with and without a sign.
    let deep = |descr, words: [[u8; 2]; 2]| colours(&npy_of(descr, false, "(1, 2)", &words.concat()), 1);
    assert_eq!(deep("<u2", [[0, 0x80], [255, 255]]), [128, 255]);
    assert_eq!(deep(">u2", [[0x80, 0], [255, 255]]), [128, 255]);
    assert_eq!(deep("<i2", [[0, 0x80], [255, 0x7f]]), [0, 255]);
    let range = Options { range: Some(simclr_core::config::Range::Fixed([-1.0, 1.0])), ..Options::default() };
    let half = npy_of("<f2", false, "(1, 3)", &[0, 0xbc, 0, 0, 0, 0x3c]);
    assert_eq!(decode(&half, 1, &range).unwrap().data, [0, 128, 255]);
    let body = [0; 300];
    for (file, want) in [
        (npy_of("|u1", false, "(5, 3, 5)", &body), "could be [H, W, C] as well as [C, H, W] with data.channels = 5"),
        (npy_of("|u1", false, "(2, 2, 2, 2)", &body), "an array of 4 axes"),
        (npy_of("|u1", false, "(8, 10, 5)", &body), "it breaks off: 400 numbers of 1 bytes are more than 300"),
        (npy_of("|O", false, "(4, 6, 5)", &body), "of type O"),
        (npy_of("<i8", false, "(4, 6, 5)", &body), "of type i8"),
        (npy_of("|u1", false, "(99999999999, 99999999999)", &body), "it is too large"),
        (npy_of("|u1", false, "(20, 30, 4)", &body), "it has 4 channels and data.channels asks for 5"),
    ] {
        assert!(fails(&file, 5).contains(want), "{}", fails(&file, 5));
    }
}

#[test]
fn jpegs_whose_luma_is_coarse_or_sampled_by_threes_are_read() {
    // Luma 100, blue chroma 148, red chroma 108: flat.
    let rgb =
        [100.0 - 20.0 * 1.402, 100.0 - 20.0 * 0.344 + 20.0 * 0.714, 100.0 + 20.0 * 1.772].map(|v: f64| v.round() as u8);
    for sampling in [
        [(1, 1), (2, 1), (2, 1)],
        [(1, 1), (2, 2), (2, 2)],
        [(1, 2), (2, 1), (2, 1)],
        [(3, 1), (1, 1), (1, 1)],
        [(3, 2), (1, 2), (1, 1)],
        [(1, 3), (1, 1), (1, 1)],
        [(2, 2), (2, 1), (1, 2)],
    ] {
        let file = coded((37, 53), &sampling, None, |c| vec![([100, 148, 108][c] - 128) * 8]);
        let picture = decode(&file, 3, &Options::default()).unwrap();
        assert_eq!((picture.height, picture.width), (37, 53), "{sampling:?}");
        assert!(far(&picture.data, &rgb.repeat(37 * 53)) <= 2, "{sampling:?}: {:?} for {rgb:?}", &picture.data[..3]);
        assert!(far(&colours(&file, 1), &[100; 37 * 53]) <= 2, "{sampling:?}");
    }
    // Inks, of which the first is sampled by threes.
    let file = coded((8, 24), &[(3, 1), (1, 1), (1, 1), (3, 1)], Some(0), |c| vec![([200, 100, 40, 128][c] - 128) * 8]);
    assert!(far(&colours(&file, 3), &[100, 50, 20].repeat(8 * 24)) <= 2, "{:?}", &colours(&file, 3)[..3]);
}

#[test]
fn what_is_not_decoded_says_what_to_do() {
    let plain = coded((8, 8), &[(1, 1)], None, |_| vec![0]);
    let frame = plain.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    let patched = |at: usize, byte: u8| {
        let mut file = plain.clone();
        file[frame + at] = byte;
        file
    };
    assert!(fails(&patched(4, 12), 3).contains("12 bits a sample"), "{}", fails(&patched(4, 12), 3));
    assert!(fails(&patched(1, 0xc9), 3).contains("arithmetic"), "{}", fails(&patched(1, 0xc9), 3));
    for (file, want) in [
        (b"\0\0\0\x1cftypavif\0\0".as_slice(), "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0", "HEIC"),
        (b"PK\x03\x04....", "archive"),
        (b"<html>", "no picture of pixels"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"...", "none of the known kinds"),
    ] {
        assert!(fails(file, 3).contains(want), "{}", fails(file, 3));
    }
}

#[test]
fn huge_pictures_are_refused_by_their_headers() {
    let mut gif = b"GIF89a\x30\x75\x30\x75\0\0\0,\0\0\0\0\x30\x75\x30\x75\0\x02\x02\x4c\x01\0;".to_vec();
    gif.extend([0; 9]);
    let long = |value: u32| [value as u16, (value >> 16) as u16];
    assert_eq!(long(30_000), [30_000, 0]);
    for file in [
        gif,
        bmp_of(30_000, 30_000, 24, 0, &[], &[0; 40]),
        bmp_of(30_000, 30_000, 8, 1, &[0; 1024], &[0, 1]),
        b"P6 30000 30000 255\n...".to_vec(),
        tiff_of(30_000, 30_000, &[8; 3], &[(262, &[2])], &[0; 40]),
        npy_of("|u1", false, "(30000, 30000)", &[0; 40]),
    ] {
        assert!(
            message(&file, 100_000_000).contains("30000x30000 are 900000000 pixels, data.max_pixels allows"),
            "{}",
            message(&file, 100_000_000)
        );
        assert_eq!(size(&file).unwrap(), (30_000, 30_000));
    }
    // So many channels are none.
    let file = tiff_of(1, 1, &[8; 400], &[(262, &[1])], &[0; 400]);
    assert!(fails(&file, 3).contains("it has 400 channels"), "{}", fails(&file, 3));
}

#[test]
fn every_format_has_endings_of_its_own() {
    let all: Vec<&str> = endings().collect();
    for ending in &all {
        assert_eq!(all.iter().filter(|other| *other == ending).count(), 1, "{ending}");
        assert_eq!(*ending, ending.to_lowercase());
    }
}
