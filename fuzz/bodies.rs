//! What each fuzz target does with bytes, and what it starts from: for the targets here, which follow coverage, and for
//! `tests/tests/mutations.rs`, which does the same on seeded mutations with every test run.
//!
//! A body says whether the bytes were taken. It asserts what must hold of what was taken; it must never panic otherwise, nor take
//! long, nor grow.

#[path = "../tests/tests/bundle/mod.rs"]
mod bundle;

use simclr_core::config::{Config, DataConfig, EachRange, ModelConfig, Range, Stem, Truncated};
use simclr_core::run::checkpoint;
use simclr_data::decode::{Options, decode};
use simclr_data::source::memory::{cifar, idx};
use simclr_data::source::{locate, stl10, tar};
use simclr_data::{Images, parse_list};
use simclr_model::{ModelSpec, SimClr, tensorflow};
use simclr_stage::Checkpoint;
use std::path::{Path, PathBuf};

/// A target: its name, its body, its seeds.
pub type Target = (&'static str, fn(&[u8]) -> bool, fn() -> Vec<Vec<u8>>);

/// All targets.
pub static TARGETS: [Target; 11] = [
    ("idx", idx_files, idx_seeds),
    ("cifar", cifar_records, || vec![vec![7; 2 * 3073]]),
    ("stl10", stl10_labels, || vec![vec![1, 10, 3]]),
    ("lists", lists, || vec![b"n01440764_10026.JPEG\nn01440764_10027.JPEG\r\n\n  val/x_n01440764.png".to_vec()]),
    ("patterns", patterns, || vec![b"train-{000..127}.tar".to_vec(), b"{0..1}/{08..12}".to_vec()]),
    ("labels", labels, || vec![b"262140\n".to_vec(), br#"{"label": 17, "x": [1]}"#.to_vec()]),
    ("pictures", pictures, picture_seeds),
    ("config", config, config_seeds),
    ("checkpoint", checkpoints, checkpoint_seeds),
    ("tensorflow", tensorflow_files, tensorflow_seeds),
    ("tar", shards, shard_seeds),
];

/// The target called `name`.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.0 == name)
}

fn idx_files(bytes: &[u8]) -> bool {
    [idx::IMAGES_MAGIC, idx::LABELS_MAGIC].into_iter().any(|magic| match idx::parse(bytes, magic) {
        Ok((shape, data)) => {
            assert_eq!(shape.iter().product::<usize>(), data.len());
            true
        }
        Err(_) => false,
    })
}

fn idx_seeds() -> Vec<Vec<u8>> {
    let images = [0x803u32, 2, 2, 3].iter().flat_map(|v| v.to_be_bytes()).chain(0..12).collect();
    let labels = [0x801u32, 5].iter().flat_map(|v| v.to_be_bytes()).chain(0..5).collect();
    vec![images, labels]
}

fn cifar_records(bytes: &[u8]) -> bool {
    let mut images = Images { height: 32, width: 32, channels: 3, data: vec![], labels: vec![] };
    let good = cifar::append(bytes, 1, 2, &mut images).is_ok();
    assert_eq!((images.len(), images.data.len()), if good { (2, 2 * 3072) } else { (0, 0) });
    let mut fine = Images { height: 32, width: 32, channels: 3, data: vec![], labels: vec![] };
    let _ = cifar::append(bytes, 2, bytes.len() / 3074, &mut fine);
    good
}

fn stl10_labels(bytes: &[u8]) -> bool {
    stl10::parse_labels(bytes, 3).is_ok_and(|labels| labels.iter().all(|label| *label < 10))
}

fn lists(bytes: &[u8]) -> bool {
    parse_list(bytes).is_ok_and(|names| {
        assert!(!names.is_empty() && names.iter().all(|name| !name.is_empty()));
        true
    })
}

fn patterns(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| locate::expand(text).is_ok())
}

fn labels(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| tar::parse_cls(text).is_ok() | tar::parse_json(text).is_ok())
}

fn pictures(bytes: &[u8]) -> bool {
    let options = Options {
        max_pixels: 1 << 16,
        range: Some(Range::Each(EachRange::MinMax)),
        orientation: true,
        truncated: Truncated::Keep,
    };
    match decode(bytes, 3, &options) {
        Ok(picture) => {
            assert_eq!(picture.data.len(), picture.height * picture.width * 3);
            assert!(picture.data.len() <= 3 << 16);
            true
        }
        Err(_) => false,
    }
}

/// Small files of every format that is read without a feature.
fn picture_seeds() -> Vec<Vec<u8>> {
    let rgb: Vec<u8> = (0..9 * 7 * 3).map(|i| (i * 5) as u8).collect();
    let written = |format| {
        let mut file = std::io::Cursor::new(Vec::new());
        let picture = image::RgbImage::from_raw(9, 7, rgb.clone()).expect("as many bytes");
        image::DynamicImage::from(picture).write_to(&mut file, format).expect("memory takes it");
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
    vec![
        written(image::ImageFormat::Bmp),
        runs,
        written(image::ImageFormat::Gif),
        written(image::ImageFormat::Pnm),
        written(image::ImageFormat::Jpeg),
        written(image::ImageFormat::Png),
        b"P2 2 2 99 1 2 3 99".to_vec(),
        tiff(),
        npy,
    ]
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

/// A folder of this thread, for what is read from files alone.
fn folder(name: &str) -> PathBuf {
    let own = format!("simclr-fuzz-{}-{:?}", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(own.replace(['(', ')'], "")).join(name);
    std::fs::create_dir_all(&path).expect("a temporary folder");
    path
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a temporary file");
}

/// An experiment file; what is taken is taken again as it is written out.
fn config(bytes: &[u8]) -> bool {
    let file = folder("config").join("experiment.toml");
    write(&file, bytes);
    let Ok(config) = Config::load(&file, &[]) else { return false };
    let text = config.to_toml().expect("what was read can be written");
    write(&file, text.as_bytes());
    let again = Config::load(&file, &[]).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    assert_eq!(again.to_toml().expect("as before"), text);
    true
}

fn config_seeds() -> Vec<Vec<u8>> {
    let small = include_bytes!("../configs/smoke.toml").to_vec();
    vec![small, include_bytes!("../configs/quickstart.toml").to_vec()]
}

/// Two files in one input: the length of the first, then both.
fn two(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

fn one_of_two(first: &[u8], second: &[u8]) -> Vec<u8> {
    [&(first.len() as u32).to_le_bytes(), first, second].concat()
}

fn checkpoints(bytes: &[u8]) -> bool {
    let Some((json, tensors)) = two(bytes) else { return false };
    let folder = folder("checkpoint");
    write(&folder.join("config.json"), json);
    write(&folder.join("model.safetensors"), tensors);
    let loaded = Checkpoint::load(&folder).and_then(|checkpoint| checkpoint.model());
    loaded.is_ok()
}

/// A network of one channel.
fn network() -> SimClr {
    let shape = ModelConfig { width: 1.0 / 64.0, stem: Stem::Cifar, proj_dim: 2, ..ModelConfig::resnet(18) };
    SimClr::new(&ModelSpec::new(&shape, 3, 8, 2, 0), 1).expect("a network")
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let folder = folder("seed");
    let model = network();
    checkpoint::save(&folder, &model.store, &model.spec.to_json()).expect("a checkpoint");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("its file");
    vec![one_of_two(&read("config.json"), &read("model.safetensors"))]
}

fn tensorflow_files(bytes: &[u8]) -> bool {
    let Some((index, data)) = two(bytes) else { return false };
    let folder = folder("tensorflow");
    let (prefix, out) = (folder.join("model.ckpt-1"), folder.join("out"));
    write(&folder.join("model.ckpt-1.index"), index);
    write(&folder.join("model.ckpt-1.data-00000-of-00001"), data);
    let _ = std::fs::remove_dir_all(&out);
    tensorflow::import(&prefix, &out, tensorflow::Options::default()).is_ok()
}

fn tensorflow_seeds() -> Vec<Vec<u8>> {
    let folder = folder("seed");
    bundle::Draft::objects(&network()).write(&folder.join("ckpt-1"), 1);
    let read = |end: &str| std::fs::read(folder.join(format!("ckpt-1{end}"))).expect("its file");
    vec![one_of_two(&read(".index"), &read(".data-00000-of-00001"))]
}

/// A shard that is indexed, and all of whose pictures are decoded.
fn shards(bytes: &[u8]) -> bool {
    let folder = folder("tar");
    write(&folder.join("train-0.tar"), bytes);
    let config = DataConfig {
        dir: Some(folder),
        train: Some("train-0.tar".into()),
        test: Some("train-0.tar".into()),
        held_out: 0.0,
        max_pixels: 1 << 16,
        ..DataConfig::new("tar", 8)
    };
    let Ok(data) = simclr_data::load(&config) else { return false };
    for index in 0..data.train.len().min(64) {
        let _ = data.train.with(index, |picture| assert!(!picture.data.is_empty()));
    }
    true
}

fn shard_seeds() -> Vec<Vec<u8>> {
    let member = |name: &str, data: &[u8]| {
        let mut head = [0u8; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[100..108].copy_from_slice(b"0000644\0");
        head[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        head[136..148].copy_from_slice(b"00000000000\0");
        head[156] = b'0';
        head[257..265].copy_from_slice(b"ustar\x0000");
        head[148..156].fill(b' ');
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut out = [head.as_slice(), data].concat();
        out.resize(out.len().next_multiple_of(512), 0);
        out
    };
    let pictures = picture_seeds();
    let samples = pictures.iter().enumerate().flat_map(|(i, picture)| {
        [member(&format!("{i}.png"), picture), member(&format!("{i}.cls"), &[b'0' + (i % 2) as u8])]
    });
    vec![[samples.flatten().collect(), vec![0; 1024]].concat()]
}
