//! Tests of parquet files: layouts, names, lazily read row groups, damaged files.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::access::{Source, Stored};
use crate::source::parquet::write::{Row, write_parquet};
use simclr_core::rng::{Purpose, Rng};
use std::fs::File;
use std::path::Path;

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
    let (groups, columns) = (16, columns(Reader::open(&paths[0]).unwrap().metadata(), &config).unwrap());
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

/// A file of ten pictures with further columns, each `(declaration, values)`: one value a row, or none.
fn with_columns(columns: &[(&str, Values)]) -> (tempfile::TempDir, PathBuf) {
    use parquet::data_type::{BoolType, DoubleType, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    let declared: String = columns.iter().map(|(declaration, _)| format!("optional {declaration};")).collect();
    let schema = format!("message schema {{ required binary image; {declared} }}");
    let schema = Arc::new(parquet::schema::parser::parse_message_type(&schema).unwrap());
    let mut writer = SerializedFileWriter::new(File::create(&path).unwrap(), schema, Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let pictures: Vec<ByteArray> = (0..10).map(|i| format!("picture {i}").into_bytes().into()).collect();
    column.typed::<ByteArrayType>().write_batch(&pictures, None, None).unwrap();
    column.close().unwrap();
    for (_, values) in columns {
        let mut column = group.next_column().unwrap().unwrap();
        match values {
            Values::Whole(values) => {
                let _ = column.typed::<Int64Type>().write_batch(values, Some(&[1; 10]), None).unwrap();
            }
            Values::Points(values) => {
                let _ = column.typed::<DoubleType>().write_batch(values, Some(&[1; 10]), None).unwrap();
            }
            Values::Truths(values) => {
                let _ = column.typed::<BoolType>().write_batch(values, Some(&[1; 10]), None).unwrap();
            }
            Values::Words(words) => {
                let levels: Vec<i16> = words.iter().map(|word| i16::from(!word.is_empty())).collect();
                let words: Vec<ByteArray> =
                    words.iter().filter(|w| !w.is_empty()).map(|w| w.as_bytes().to_vec().into()).collect();
                column.typed::<ByteArrayType>().write_batch(&words, Some(&levels), None).unwrap();
            }
        }
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    (dir, path)
}

enum Values {
    Whole([i64; 10]),
    Points([f64; 10]),
    Truths([bool; 10]),
    Words([&'static str; 10]),
}

fn opened_with(columns: &[(&str, Values)], label_columns: Option<[&str; 2]>) -> Result<Files> {
    let (_dir, path) = with_columns(columns);
    let label_columns = label_columns.map(|names| names.map(String::from));
    open(vec![path], &DataConfig { label_columns, ..config() })
}

#[test]
fn labels_are_words_numbers_and_what_libraries_make_of_them() {
    let words = ["dog", "cat", "", "dog", "10", "2", "cat", "cat", "cat", "cat"];
    let files = opened_with(&[("binary Label (UTF8)", Values::Words(words))], None).unwrap();
    assert_eq!(files.classes, Classes::Found(["2", "10", "cat", "dog"].map(String::from).into()));
    assert_eq!(files.labels[..6], [Some(3), Some(2), None, Some(3), Some(1), Some(0)]);
    let points = [1.0, 0.0, f64::NAN, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let files = opened_with(&[("double target", Values::Points(points))], None).unwrap();
    assert_eq!((files.classes, &files.labels[..4]), (Classes::Numbers, &[Some(1), Some(0), None, None][..]));
    let truths = [true, false, true, true, true, true, true, true, true, true];
    let files = opened_with(&[("boolean label", Values::Truths(truths))], None).unwrap();
    assert_eq!(files.classes, Classes::Found(["false", "true"].map(String::from).into()));
}

#[test]
fn a_column_of_numbers_is_a_label_only_if_it_looks_like_one() {
    let few = [3, 1, 3, 1, 3, 1, 3, 1, 3, -1];
    let many = [900, 17, 31, 42, 55, 61, 71, 80, 99, 5_000_000_000];
    let first = |column: &str, values: [i64; 10], named: Option<[&str; 2]>| {
        opened_with(&[(&format!("int64 {column}"), Values::Whole(values))], named).map(|files| files.labels[0])
    };
    assert_eq!(first("digit", few, None).unwrap(), Some(3), "the only one, and its values repeat");
    assert_eq!(first("digit", many, None).unwrap(), None, "as many values as rows");
    assert_eq!(first("image_id", few, None).unwrap(), None, "its name says what it is");
    assert_eq!(first("image_id", few, Some(["", "image_id"])).unwrap(), Some(3), "named, it is one");
    let message = format!("{:#}", first("label", many, None).unwrap_err());
    assert!(message.contains("row 9: 5000000000 can be no class") && message.contains("x.parquet"), "{message}");
    let message = format!("{:#}", first("digit", few, Some(["", "kind"])).unwrap_err());
    assert!(
        message.contains("data.label_columns: no column \"kind\"") && message.contains("there are digit"),
        "{message}"
    );
    let two = [("int64 a", Values::Whole(few)), ("int64 b", Values::Whole(few))];
    assert_eq!(opened_with(&two, None).unwrap().labels[0], None, "which of two?");
}
