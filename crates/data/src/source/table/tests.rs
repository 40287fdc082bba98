//! Tests of labels from a table.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::source::classes::Classes;
use crate::source::files::Store;

struct Paths(Vec<&'static str>);

impl Store for Paths {
    fn read(&self, _: usize) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
    fn place(&self, index: usize) -> String {
        self.0[index].into()
    }
    fn path(&self, index: usize) -> Option<&str> {
        Some(self.0[index])
    }
}

fn files(base: &str, paths: &[&'static str]) -> Files {
    let names = paths.iter().map(|path| stable_name(path).into()).collect();
    let labels = (vec![Some(0); paths.len()], Classes::Found(vec!["by folder".into()]));
    Files { base: base.into(), ..Files::new(Box::new(Paths(paths.to_vec())), Some(names), labels) }
}

fn labeled(text: &str, train: &mut Files, test: Option<&mut Files>) -> Result<TableFound> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("labels.csv"), text).unwrap();
    let config = DataConfig { dir: Some(dir.path().into()), ..DataConfig::new("folder", 8) };
    label(train, test, &config, Path::new("labels.csv"))
}

#[test]
fn the_table_wins_and_what_does_not_fit_is_counted() {
    let mut train = files("train", &["x/1.png", "x/2.png", "y/3.png", "4.png"]);
    let mut test = files("val", &["5.png", "6.png"]);
    let text = "file,label\n1,10\nx/2.png,9\ny/3.png,\n5.png,9\n77.png,9\n1,10\n";
    let found = labeled(text, &mut train, Some(&mut test)).unwrap();
    assert_eq!(train.labels, [Some(1), Some(0), None, None]);
    assert_eq!(
        (train.classes, &test.classes),
        (Classes::Found(vec!["9".into(), "10".into()]), &Classes::Found(vec!["9".into()]))
    );
    assert_eq!(test.labels, [Some(0), None]);
    assert_eq!((found.rows, found.rows_without_label, found.labeled), (6, 1, 3));
    assert_eq!((found.rows_without_picture, found.pictures_without_row), (1, 2));
    assert_eq!(found.some_without_picture, ["77.png"]);
}

#[test]
fn test_pictures_that_no_row_names_keep_the_labels_of_their_folders() {
    let mut train = files("train", &["1.png", "2.png", "3.png"]);
    let mut test = files("test", &["x/4.png", "y/5.png"]);
    let found = labeled("file,label\n1.png,x\n2.png,y\n", &mut train, Some(&mut test)).unwrap();
    assert_eq!((train.labels, test.labels), (vec![Some(0), Some(1), None], vec![Some(0), Some(0)]));
    assert_eq!(found.pictures_without_row, 1, "of those that could have one");
}

#[test]
fn mistakes_name_the_lines() {
    let message = |text: &str| {
        let mut train = files("", &["x/1.png", "y/1.png", "z/2.png"]);
        format!("{:#}", labeled(text, &mut train, None).unwrap_err())
    };
    let text = message("file,label\n2.png,a\n1.png,a\n");
    assert!(text.contains("labels.csv: line 3: 1.png may be x/1.png, y/1.png: name it by its path"), "{text}");
    let text = message("file,label\nx/1.png,a\n2,a\nz/2.png,b\n");
    assert!(text.contains("lines 3 and 4 give z/2.png two labels, a and b"), "{text}");
    let text = message("file,label\np.png,a\n");
    assert!(
        text.contains("none of its 1 rows names a picture: it says p.png, they are called x/1.png, or 1"),
        "{text}"
    );
    let (mut train, config) = (files("", &["a.png"]), DataConfig::new("folder", 8));
    let text = format!("{:#}", label(&mut train, None, &config, Path::new("no/such.csv")).unwrap_err());
    assert!(text.contains("data.labels: no/such.csv: cannot read"), "{text}");
}
