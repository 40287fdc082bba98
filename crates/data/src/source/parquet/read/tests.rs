//! Tests of parquet files: layouts, names, lazily read row groups, damaged files.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::access::{Source, Stored};
use crate::source::parquet::write::{Row, write_parquet};
use simclr_core::rng::{Purpose, Rng};

fn rows(count: usize) -> Vec<Row> {
    let row = |i: usize| Row {
        bytes: format!("picture {i}").into_bytes(),
        path: Some(format!("n01440764_{i}_n01440764.JPEG")),
        label: Some(i as i64 % 3),
    };
    (0..count).map(row).collect()
}

fn classes() -> Vec<String> {
    ["x", "y", "z"].map(String::from).into()
}

/// Files with these rows, four rows a row group.
fn written(files: &[&[Row]], classes: &[String]) -> (tempfile::TempDir, Vec<PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..files.len()).map(|i| dir.path().join(format!("{i}.parquet"))).collect();
    files.iter().zip(&paths).for_each(|(rows, path)| write_parquet(path, rows, 4, classes).unwrap());
    (dir, paths)
}

fn config() -> DataConfig {
    DataConfig::new("parquet", 8)
}

fn picture(files: &Files, index: usize) -> Vec<u8> {
    let Stored::File(bytes) = Source::read(files, index).unwrap() else { panic!("a file") };
    bytes
}

fn message(path: &Path) -> String {
    format!("{:#}", open(vec![path.into()], &config()).err().expect("an error"))
}

#[test]
fn files_follow_one_another_and_groups_are_shards() {
    let rows = rows(15);
    let (_dir, paths) = written(&[&rows[..9], &rows[9..]], &classes());
    let files = open(paths, &config()).unwrap();
    assert_eq!((Source::len(&files), &files.classes), (15, &Classes::Stated(classes())));
    assert_eq!(files.store.shards(), [0..4, 4..8, 8..9, 9..13, 13..15]);
    for i in [14, 0, 9, 8, 3] {
        assert_eq!(picture(&files, i), rows[i].bytes);
        assert_eq!((files.label(i), files.name(i)), (Some(i as u32 % 3), Some(&*format!("n01440764_{i}"))));
    }
    assert!(Source::place(&files, 11).starts_with("row 2 of ") && Source::place(&files, 11).ends_with("1.parquet"));
}

#[test]
fn labels_and_names_may_be_missing() {
    let mut rows = rows(6);
    rows[2].label = Some(-1);
    rows[3].label = None;
    rows[4].path = None;
    let (_dir, paths) = written(&[&rows], &[]);
    let files = open(paths, &config()).unwrap();
    assert_eq!(files.labels, [Some(0), Some(1), None, None, Some(1), Some(2)]);
    assert_eq!(
        (files.name(0), files.key(4), &files.classes),
        (None, 4, &Classes::Numbers),
        "numbers in place of names"
    );
    rows.iter_mut().for_each(|row| row.path = Some("image.jpg".into()));
    let (_dir, paths) = written(&[&rows], &[]);
    assert_eq!(open(paths, &config()).unwrap().name(0), None, "a name that all share is none");
}

#[test]
fn every_codec_of_the_hub_is_read() {
    use crate::source::parquet::write::write_with;
    use parquet::basic::Compression;
    let (dir, rows) = (tempfile::tempdir().unwrap(), rows(5));
    for (i, codec) in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ]
    .into_iter()
    .enumerate()
    {
        let path = dir.path().join(format!("{i}.parquet"));
        write_with(codec, &path, &rows, 4, &[]).unwrap();
        let files = open(vec![path], &config()).unwrap();
        assert!((0..5).all(|row| picture(&files, row) == rows[row].bytes), "{codec:?}");
    }
}

#[test]
fn few_groups_are_kept() {
    let mut rows = rows(64);
    rows.iter_mut().for_each(|row| row.bytes.resize(100_000, row.bytes[8]));
    let (_dir, paths) = written(&[&rows], &classes());
    let config = DataConfig { parquet_cache: 1, ..config() };
    let files = open(paths.clone(), &config).unwrap();
    // Eight threads draw at random from more groups than there is room for.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).build().unwrap();
    pool.install(|| {
        use rayon::prelude::*;
        (0..400usize).into_par_iter().for_each(|i| assert_eq!(picture(&files, i * 37 % 64), rows[i * 37 % 64].bytes));
    });
    let (groups, columns) = (16, super::columns(Reader::open(&paths[0]).unwrap().metadata(), &config).unwrap());
    let reader = Reader::open(&paths[0]).unwrap();
    assert_eq!((reader.metadata().num_row_groups(), columns.bytes, columns.path), (groups, 0, Some(1)));
    assert_eq!(columns.label.map(|label| (label.column, label.guessed)), Some((2, false)));
    let store = Groups {
        files: vec![(paths[0].clone(), columns)],
        groups: (0..16u32)
            .map(|g| Group { file: 0, number: g as usize, before: 4 * g, rows: 4 * g..4 * g + 4, bytes: 400_000 })
            .collect(),
        kept: Mutex::new(LruCache::unbounded()),
        room: 1 << 20,
    };
    (0..64).for_each(|i| drop(store.read(i).unwrap()));
    let kept: Vec<usize> = store.kept.lock().unwrap().iter().map(|(number, _)| *number).rev().collect();
    assert_eq!(kept, [14, 15], "two groups of 0.4 MB fit into 1 MiB");
    store.read(14 * 4).unwrap();
    store.read(0).unwrap();
    let kept: Vec<usize> = store.kept.lock().unwrap().iter().map(|(number, _)| *number).rev().collect();
    assert_eq!(kept, [14, 0], "the one that was used last stays");
}

#[test]
fn files_that_are_none_are_named() {
    let (dir, paths) = written(&[&rows(9)], &classes());
    let bytes = std::fs::read(&paths[0]).unwrap();
    let path = dir.path().join("cut.parquet");
    for cut in [0, 3, bytes.len() / 2, bytes.len() - 5] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let text = message(&path);
        assert!(
            text.contains("cut.parquet") && (text.contains("no whole parquet") || text.contains("empty")),
            "{text}"
        );
    }
    assert!(message(Path::new("no/such.parquet")).contains("no/such.parquet"));
    let (_dir, mut other) = written(&[&rows(2)], &["a".into(), "b".into(), "c".into()]);
    other.insert(0, paths[0].clone());
    assert!(format!("{:#}", open(other, &config()).err().unwrap()).contains("other classes"));
}

/// A file whose pictures are damaged but whose footer is whole opens, and names the row that cannot be read.
#[test]
fn damaged_row_groups_are_errors_of_their_rows() {
    let (_dir, paths) = written(&[&rows(9)], &classes());
    let mut bytes = std::fs::read(&paths[0]).unwrap();
    bytes[4..40].fill(0xff);
    std::fs::write(&paths[0], &bytes).unwrap();
    let files = open(paths, &config()).unwrap();
    assert!(Source::read(&files, 1).unwrap_err().to_string().contains("row group 0 cannot be read"));
    assert_eq!(picture(&files, 8), b"picture 8");
}

#[test]
fn mutated_files_never_panic_out() {
    let (dir, paths) = written(&[&rows(9)], &classes());
    let whole = std::fs::read(&paths[0]).unwrap();
    let (mut rng, path) = (Rng::stream(3, Purpose::Test, &[]), dir.path().join("mutated.parquet"));
    std::panic::set_hook(Box::new(|_| ()));
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len());
            bytes[at] = rng.next_u64() as u8;
        }
        std::fs::write(&path, bytes).unwrap();
        if let Ok(files) = open(vec![path.clone()], &config()) {
            (0..Source::len(&files)).for_each(|i| drop(Source::read(&files, i)));
        }
    }
    let _ = std::panic::take_hook();
}

#[test]
fn class_names_are_those_of_the_label() {
    let text =
        r#"{"info": {"features": {"fine_label": {"names": ["a", "b"], "_type": "ClassLabel"}, "x": {"names": [1]}}}}"#;
    assert_eq!(parse_class_names(text, "fine_label"), Some(vec!["a".into(), "b".into()]));
    assert!(["x", "y"].iter().all(|label| parse_class_names(text, label).is_none()));
    assert!(parse_class_names("{", "label").is_none());
}
