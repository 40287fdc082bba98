//! Own parsers on damaged input: an error or a result, and no panic. The targets of `fuzz/` call the same functions.
#![allow(clippy::unwrap_used, missing_docs)]

use simclr_core::config::{EachRange, Range, Truncated};
use simclr_core::rng::{Purpose, Rng};
use simclr_data::decode::{Options, decode};
use simclr_data::source::memory::{cifar, idx};
use simclr_data::source::{locate, parquet, stl10, tar};
use simclr_data::{Images, parse_list};

/// Changes, repeats, drops and inserts a few bytes.
fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len().max(1)).min(bytes.len());
        match rng.below(5) {
            0 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            2 => bytes.insert(at, b"{}.*0129-+\xff\0\n"[rng.below(13)]),
            3 => bytes.truncate(at),
            _ => bytes.extend_from_within(at..(at + 7).min(bytes.len())),
        }
    }
}

/// Runs `parse` on mutations of `seeds`; tells how many of them it took.
fn accepted(seeds: &[&[u8]], rounds: usize, parse: impl Fn(&[u8]) -> bool) -> usize {
    let mut rng = Rng::stream(seeds.len() as u64, Purpose::Test, &[rounds as u64]);
    assert!(seeds.iter().all(|seed| parse(seed)), "a seed itself is not taken");
    let once = |round: usize| {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        mutate(&mut bytes, &mut rng);
        parse(&bytes)
    };
    (0..rounds).map(once).filter(|taken| *taken).count()
}

/// Mutations reach both the errors and what comes after them.
fn both(taken: usize, rounds: usize) {
    assert!(taken > 0 && taken < rounds, "{taken} of {rounds} were taken");
}

/// A TIFF of 3x4 pixels of two bytes, uncompressed.
fn tiff() -> Vec<u8> {
    let tags: [(u16, u16); 9] =
        [(256, 4), (257, 3), (258, 16), (259, 1), (262, 1), (273, 122), (277, 1), (278, 3), (279, 24)];
    let mut file = b"II*\0\x08\0\0\0\x09\0".to_vec();
    for (tag, value) in tags {
        file.extend([tag.to_le_bytes(), [3, 0], [1, 0], [0, 0], value.to_le_bytes(), [0, 0]].concat());
    }
    file.extend([0; 4]);
    file.extend(0..24);
    file
}

#[test]
fn pictures() {
    let rgb: Vec<u8> = (0..9 * 7 * 3).map(|i| (i * 5) as u8).collect();
    let written = |format| {
        let mut file = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_raw(9, 7, rgb.clone()).unwrap();
        image::DynamicImage::from(picture).write_to(&mut file, format).unwrap();
        file.into_inner()
    };
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, 3), }\n";
    let npy = [b"\x93NUMPY\x01\0".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes(), &[7; 72]].concat();
    let runs = [
        b"BM\x4a\0\0\0\0\0\0\0\x3e\0\0\0\x28\0\0\0\x03\0\0\0\x02\0\0\0\x01\0\x08\0\x01\0\0\0\x0c\0\0\0".as_slice(),
        &[0; 8],
        &[2, 0, 0, 0, 0, 0, 0, 0, 9, 8, 7, 0, 1, 2, 3, 0],
        &[3, 1, 0, 0, 0, 3, 1, 0, 1, 0, 0, 1],
    ]
    .concat();
    let seeds = [
        written(image::ImageFormat::Bmp),
        runs,
        written(image::ImageFormat::Gif),
        written(image::ImageFormat::Pnm),
        written(image::ImageFormat::Jpeg),
        written(image::ImageFormat::Png),
        b"P2 2 2 99 1 2 3 99".to_vec(),
        tiff(),
        npy,
    ];
    let options = Options {
        max_pixels: 1 << 16,
        range: Some(Range::Each(EachRange::MinMax)),
        orientation: true,
        truncated: Truncated::Keep,
    };
    for seed in &seeds {
        let taken = accepted(&[seed], 2000, |bytes| match decode(bytes, 3, &options) {
            Ok(picture) => {
                assert_eq!(picture.data.len(), picture.height * picture.width * 3);
                assert!(picture.data.len() <= 3 << 16);
                true
            }
            Err(_) => false,
        });
        both(taken, 2000);
    }
}

#[test]
fn idx_files() {
    let images = [0x803u32, 2, 2, 3].iter().flat_map(|v| v.to_be_bytes()).chain(0..12).collect::<Vec<u8>>();
    let labels = [0x801u32, 5].iter().flat_map(|v| v.to_be_bytes()).chain(0..5).collect::<Vec<u8>>();
    let shape = |bytes: &[u8], magic| match idx::parse(bytes, magic) {
        Ok((shape, data)) => {
            assert_eq!(shape.iter().product::<usize>(), data.len());
            true
        }
        Err(_) => false,
    };
    both(accepted(&[&images], 20_000, |b| shape(b, idx::IMAGES_MAGIC)), 20_000);
    both(accepted(&[&labels], 20_000, |b| shape(b, idx::LABELS_MAGIC)), 20_000);
}

#[test]
fn cifar_and_stl10() {
    let records = vec![7; 2 * 3073];
    let parse = |bytes: &[u8]| {
        let mut images = Images { height: 32, width: 32, channels: 3, data: vec![], labels: vec![] };
        let good = cifar::append(bytes, 1, 2, &mut images).is_ok();
        assert_eq!((images.len(), images.data.len()), if good { (2, 2 * 3072) } else { (0, 0) });
        good
    };
    both(accepted(&[&records], 300, parse), 300);
    both(accepted(&[&[1, 10, 3]], 5000, |b| stl10::parse_labels(b, 3).is_ok_and(|l| l.iter().all(|l| *l < 10))), 5000);
}

#[test]
fn lists_of_names() {
    let list = b"n01440764_10026.JPEG\nn01440764_10027.JPEG\r\n\n  val/x_n01440764.png";
    assert_eq!(parse_list(list).unwrap(), ["n01440764_10026.JPEG", "n01440764_10027.JPEG", "val/x_n01440764.png"]);
    assert!(parse_list(b"").is_err() && parse_list(b"\n \n").is_err());
    both(accepted(&[list], 20_000, |b| parse_list(b).is_ok_and(|names| names.iter().all(|n| !n.is_empty()))), 20_000);
}

#[test]
fn patterns_and_labels() {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(String::from).unwrap_or_default();
    let seeds: [&[u8]; 2] = [b"train-{000..127}.tar", b"{0..1}/{08..12}"];
    both(accepted(&seeds, 20_000, |b| locate::expand(&text(b)).is_ok()), 20_000);
    both(accepted(&[b"262140\n"], 5000, |b| tar::parse_cls(&text(b)).is_ok()), 5000);
    both(accepted(&[br#"{"label": 17, "x": [1]}"#], 20_000, |b| tar::parse_json(&text(b)).is_ok()), 20_000);
    let names: &[u8] = br#"{"info": {"features": {"label": {"names": ["a", "b"]}}}}"#;
    both(accepted(&[names], 20_000, |b| parquet::parse_class_names(&text(b), "label").is_some()), 20_000);
}
