//! Tests of DICOM.
#![allow(clippy::unwrap_used)]

use crate::decode::{Options, decode, size};
use simclr_core::config::Range;
use simclr_core::rng::{Purpose, Rng};

fn element(group: u16, number: u16, kind: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = [group.to_le_bytes(), number.to_le_bytes()].concat();
    bytes.extend(kind.bytes());
    if matches!(kind, "OW" | "OB") {
        bytes.extend([0, 0]);
        bytes.extend((value.len() as u32).to_le_bytes());
    } else {
        bytes.extend((value.len() as u16).to_le_bytes());
    }
    bytes.extend(value);
    bytes
}

/// A file of explicit types, the lowest byte first: `more` are elements between the usual ones and the pixels.
fn dicom(rows: u16, columns: u16, kind: &str, (samples, bits): (u16, u16), more: &[Vec<u8>], pixels: &[u8]) -> Vec<u8> {
    let short = |group, number, value: u16| element(group, number, "US", &value.to_le_bytes());
    let meta = [
        element(2, 2, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
        element(2, 3, "UI", b"1.2.3.4\0"),
        element(2, 16, "UI", b"1.2.840.10008.1.2.1\0"),
    ]
    .concat();
    let mut file = vec![0; 128];
    file.extend(b"DICM");
    file.extend(element(2, 0, "UL", &(meta.len() as u32).to_le_bytes()));
    file.extend(meta);
    file.extend(short(0x28, 2, samples));
    file.extend(element(0x28, 4, "CS", kind.as_bytes()));
    if samples > 1 {
        file.extend(short(0x28, 6, 0));
    }
    file.extend(short(0x28, 0x10, rows));
    file.extend(short(0x28, 0x11, columns));
    file.extend(short(0x28, 0x100, if bits > 8 { 16 } else { 8 }));
    file.extend(short(0x28, 0x101, bits));
    file.extend(short(0x28, 0x102, bits - 1));
    file.extend(short(0x28, 0x103, 0));
    more.iter().for_each(|element| file.extend(element));
    file.extend(element(0x7fe0, 0x10, if bits > 8 { "OW" } else { "OB" }, pixels));
    file
}

fn twelve(kind: &str, more: &[Vec<u8>]) -> Vec<u8> {
    let pixels: Vec<u8> = [0u16, 1024, 2048, 4095].iter().flat_map(|v| v.to_le_bytes()).collect();
    dicom(2, 2, kind, (1, 12), more, &pixels)
}

#[test]
fn gray_comes_out_by_its_bits_its_window_or_the_range() {
    let plain = Options::default();
    let file = twelve("MONOCHROME2 ", &[]);
    assert_eq!((decode(&file, 1, &plain).unwrap().data, size(&file).unwrap()), (vec![0, 64, 128, 255], (2, 2)));
    assert_eq!(decode(&twelve("MONOCHROME1 ", &[]), 1, &plain).unwrap().data, [255, 191, 127, 0]);
    assert_eq!(decode(&file, 3, &plain).unwrap().data[3..6], [64; 3]);
    // Units are stored numbers less 1024: the window shows -0 to 2048 of them, the range -1024 to 0.
    let units = [element(0x28, 0x1052, "DS", b"-1024 "), element(0x28, 0x1053, "DS", b"1 ")];
    let windowed =
        [&[element(0x28, 0x1050, "DS", b"1024.5"), element(0x28, 0x1051, "DS", b"2049")], units.as_slice()].concat();
    let file = twelve("MONOCHROME2 ", &windowed);
    assert_eq!(decode(&file, 1, &plain).unwrap().data, [0, 0, 128, 255]);
    let range = Options { range: Some(Range::Fixed([-1024.0, 0.0])), ..plain };
    assert_eq!(decode(&file, 1, &range).unwrap().data, [0, 255, 255, 255]);
}

#[test]
fn colours_are_colours() {
    let file = dicom(1, 2, "RGB ", (3, 8), &[], &[1, 2, 3, 4, 5, 6]);
    assert_eq!(decode(&file, 3, &Options::default()).unwrap().data, [1, 2, 3, 4, 5, 6]);
    let text = format!("{:#}", decode(&file, 5, &Options::default()).unwrap_err());
    assert!(text.contains("it has 3 channels and data.channels asks for 5"), "{text}");
}

#[test]
fn hostile_files_are_errors_or_pictures() {
    let text = format!(
        "{:#}",
        decode(&dicom(30_000, 30_000, "RGB ", (3, 8), &[], &[0; 6]), 3, &Options::default()).unwrap_err()
    );
    assert!(text.contains("data.max_pixels"), "{text}");
    let seed = twelve("MONOCHROME2 ", &[]);
    let mut rng = Rng::stream(4, Purpose::Test, &[]);
    for _ in 0..1000 {
        let mut file = seed.clone();
        for _ in 0..=rng.below(4) {
            let at = 132 + rng.below(file.len() - 132);
            file[at] = rng.next_u64() as u8;
        }
        file.truncate(file.len() - rng.below(2) * rng.below(40));
        if let Ok(picture) = decode(&file, 1, &Options { max_pixels: 1 << 20, ..Options::default() }) {
            assert_eq!(picture.data.len(), picture.height * picture.width);
        }
    }
}
