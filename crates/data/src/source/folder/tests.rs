//! Tests of folders: splits, classes, unlabeled pictures.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::access::Stored;
use simclr_core::testing::write_files;
use std::collections::BTreeMap;

fn tree(files: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_files(dir.path(), files.split_whitespace());
    dir
}

fn config(dir: &Path) -> DataConfig {
    DataConfig { dir: Some(dir.into()), held_out: 0.0, ..DataConfig::new("folder", 8) }
}

fn pictures_of(data: &Dataset, pictures: &Pictures) -> String {
    let label = |i| pictures.label(i).map_or("-", |label| &data.classes[label as usize]);
    (0..pictures.len())
        .map(|i| format!("{}={}", pictures.source().path(i).unwrap(), label(i)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Training pictures and test pictures, each with its class.
fn opened(config: &DataConfig) -> [String; 2] {
    let data = load(config).unwrap();
    [&data.train, &data.test].map(|pictures| pictures_of(&data, pictures))
}

fn message(config: &DataConfig) -> String {
    format!("{:#}", load(config).err().expect("an error"))
}

#[test]
fn folders_are_classes() {
    let dir = tree("dog/b.JPEG dog/deep/a.png cat/1.webp cat/notes.txt .git/x.png read.me");
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let data = load(&config(dir.path())).unwrap();
    assert_eq!(data.classes, ["cat", "dog"]);
    assert_eq!(pictures_of(&data, &data.train), "cat/1.webp=cat dog/b.JPEG=dog dog/deep/a.png=dog");
    let source = data.train.source();
    assert_eq!((0..3).map(|i| source.name(i).unwrap()).collect::<Vec<_>>(), ["1", "b", "a"]);
    let Stored::File(bytes) = source.read(2).unwrap() else { panic!("a file") };
    assert_eq!(bytes, b"dog/deep/a.png");
    assert_eq!(source.file_size(2), Some(14));
    assert!(source.place(1).ends_with("dog/b.JPEG") && source.shards().is_empty());
    assert!(data.found.lines().contains(&"passed over: me 1, txt 1".into()), "{:?}", data.found.lines());
}

#[test]
fn a_flat_folder_has_no_labels() {
    let dir = tree("b.jpg a.jpg");
    assert_eq!(opened(&config(dir.path())), ["a.jpg=- b.jpg=-", ""]);
    let key = |dir: &Path| load(&config(dir)).unwrap().train.key(0);
    assert_eq!(key(dir.path()), key(tree("x/a.png").path()), "a view depends on the stem alone");
    assert_eq!(pictures(dir.path(), 3, Corrupt::Skip).unwrap().len(), 2);
}

#[test]
fn splits_have_many_names() {
    for (train, test) in [
        ("train", "val"),
        ("Train", "Valid"),
        ("Training", "Testing"),
        ("train_images", "test_images"),
        ("TRAIN", "Evaluation"),
        ("train", "Validation"),
    ] {
        let dir = tree(&format!("{train}/a/1.png {train}/b/2.png {test}/a/3.png"));
        assert_eq!(opened(&config(dir.path())), ["a/1.png=a b/2.png=b", "a/3.png=a"], "{train} and {test}");
    }
    let dir = tree("train/a/1.png val/a/2.png test/a/3.png test/a/4.png pool/5.png 6.png train_masks/7.png");
    let data = load(&config(dir.path())).unwrap();
    assert_eq!((data.train.len(), pictures_of(&data, &data.test)), (1, "a/2.png=a".into()), "val goes before test");
    let lines = data.found.lines().join("\n");
    for part in [
        "2 pictures in test are not used: accuracy is measured on",
        "not used: pool (1 pictures), train_masks (1 pictures); data.unlabeled",
        "not used: 1 pictures in",
    ] {
        assert!(lines.contains(part), "{lines}");
    }
}

#[test]
fn what_can_be_understood_in_two_ways_is_an_error_with_the_key() {
    let dir = tree("Testing/a/1.png a/2.png");
    let at = config(dir.path());
    let text = message(&at);
    assert!(
        text.contains("\"Testing\", which looks like test pictures") && text.contains("data.train = \".\""),
        "{text}"
    );
    let all = DataConfig { train: Some(".".into()), ..at.clone() };
    assert_eq!(opened(&all)[0], "Testing/a/1.png=Testing a/2.png=a", "said so, it is a class");
    let named = DataConfig { test: Some("Testing".into()), ..at };
    assert_eq!(opened(&named), ["a/2.png=a", "a/1.png=a"], "test pictures are no training pictures");
    let vehicles = tree("train/1.png bus/2.png tram/3.png");
    let text = message(&config(vehicles.path()));
    assert!(
        text.contains("\"train\" beside bus (1 pictures), tram (1 pictures)") && text.contains("data.train"),
        "{text}"
    );
    let text = message(&config(tree("Train/a/1.png Training/a/2.png val/a/3.png").path()));
    assert!(text.contains("several folders that look alike, Train, Training: name one by data.train"), "{text}");
    let same = DataConfig { train: Some("x".into()), test: Some("./x".into()), ..config(dir.path()) };
    std::fs::create_dir(dir.path().join("x")).unwrap();
    assert!(message(&same).contains("training and test images are both"), "{}", message(&same));
}

#[test]
fn splits_may_lie_in_the_classes() {
    let dir = tree("cat/train/1.png cat/val/2.png cat/test/3.png dog/train/4.png dog/val/5.png unlabeled/6.png");
    let expected = ["cat/train/1.png=cat dog/train/4.png=dog unlabeled/6.png=-", "cat/val/2.png=cat dog/val/5.png=dog"];
    assert_eq!(opened(&config(dir.path())), expected);
    let text = message(&config(tree("cat/train/1.png cat/test/3.png dog/4.png").path()));
    assert!(text.contains("test pictures in some classes, such as cat/test/3.png, and not in others"), "{text}");
}

#[test]
fn unlabeled_pictures_lie_beside_labeled_ones() {
    let inner = tree("train/cats/1.png train/dogs/2.png train/Unlabeled/deep/3.png train/4.png val/cats/5.png");
    let data = load(&config(inner.path())).unwrap();
    let expected = "4.png=- Unlabeled/deep/3.png=- cats/1.png=cats dogs/2.png=dogs";
    assert_eq!((pictures_of(&data, &data.train), data.classes.join(" ")), (expected.into(), "cats dogs".into()));
    let unlabeled: Vec<(usize, &str)> =
        data.found.places.iter().filter(|p| p.split == "unlabeled").map(|p| (p.pictures, p.why.as_str())).collect();
    assert_eq!(unlabeled, [(1, "a usual name"), (1, "files beside the folders of the classes")]);
    let beside = tree("train/cats/1.png train/dogs/2.png val/cats/5.png unlabelled/1.png pool/9.png");
    let at = config(beside.path());
    assert_eq!(opened(&at)[0], "cats/1.png=cats dogs/2.png=dogs unlabelled/1.png=-");
    let data = load(&at).unwrap();
    assert!(data.train.get(2).map(|_| ()).unwrap_err().to_string().contains("unlabelled/1.png"));
    let pool = DataConfig { unlabeled: Some("pool".into()), ..at.clone() };
    assert_eq!(opened(&pool)[0], "cats/1.png=cats dogs/2.png=dogs pool/9.png=-");
    let far = tree("x/y.png");
    let elsewhere = DataConfig { unlabeled: Some(far.path().join("x")), ..at.clone() };
    assert_eq!(opened(&elsewhere)[0], "cats/1.png=cats dogs/2.png=dogs x/y.png=-");
    let class = DataConfig { unlabeled: Some("train/dogs".into()), ..at.clone() };
    assert_eq!(opened(&class), ["cats/1.png=cats dogs/2.png=-", "cats/5.png=cats"]);
    let whole = DataConfig { unlabeled: Some(".".into()), train: Some("train".into()), ..at.clone() };
    assert_eq!(opened(&whole)[0].matches("train/").count(), 0, "training pictures are not taken twice");
    let text = message(&DataConfig { unlabeled: Some("none".into()), ..at });
    assert!(text.contains("data.unlabeled = \"none\" is no folder"), "{text}");
}

#[test]
fn a_tree_may_be_all_unlabeled() {
    let dir = tree("2019/1.png 2020/may/2.png");
    let at = DataConfig { unlabeled: Some(".".into()), ..config(dir.path()) };
    assert_eq!(opened(&at), ["2019/1.png=- 2020/may/2.png=-", ""]);
}

#[test]
fn a_table_wins_over_folders() {
    let dir = tree("train/x/1.png train/x/2.png train/y/3.png test/1.png test/9.png");
    std::fs::write(dir.path().join("labels.csv"), "id,label\n1,b\n3.png,a\n2,\n").unwrap();
    let at = DataConfig { labels: Some("labels.csv".into()), held_out: 0.5, ..config(dir.path()) };
    let data = load(&at).unwrap();
    assert_eq!(
        pictures_of(&data, &data.train),
        "x/1.png=b x/2.png=- y/3.png=a",
        "test pictures of the same name have none"
    );
    assert_eq!((data.test.len(), data.classes.join(" ")), (0, "a b".into()), "unlabeled test pictures measure nothing");
    assert!(
        data.found.lines().join("\n").contains("none of the 2 test pictures has a label"),
        "{:?}",
        data.found.lines()
    );
    let kept = DataConfig { test: Some("test".into()), ..at };
    assert_eq!(load(&kept).unwrap().test.len(), 2, "what was named stays");
    let flat = tree("a.png b.png c.png d.png");
    std::fs::write(flat.path().join("l.tsv"), "file\tclass\na.png\t2\nb\t10\nc.png\t2\nd.png\t10\n").unwrap();
    let at = DataConfig { labels: Some("l.tsv".into()), held_out: 0.5, ..config(flat.path()) };
    let data = load(&at).unwrap();
    assert_eq!((data.train.len(), data.test.len(), data.classes.join(" ")), (2, 2, "2 10".into()));
    assert!(data.found.passed_over.is_empty(), "the table itself is not passed over: {}", data.found.passed_over);
}

#[test]
fn pictures_are_held_out_where_there_is_no_test_split() {
    let names: Vec<String> = (0..40).map(|i| format!("{}/{i}.png", ["a", "b"][i % 2])).collect();
    let dir = tree(&names.join(" "));
    let at = DataConfig { held_out: 0.2, ..config(dir.path()) };
    let data = load(&at).unwrap();
    let about = data.found.held_out.as_ref().unwrap();
    assert_eq!((about.labeled, about.pictures.len()), (40, data.test.len()));
    assert_eq!(data.train.len() + data.test.len(), 40);
    let mut counts = BTreeMap::new();
    (0..data.test.len()).for_each(|i| *counts.entry(data.test.label(i)).or_insert(0) += 1);
    assert!(counts.len() == 2 && counts.values().all(|n| (1..20).contains(n)), "{counts:?}");
    let path = dir.path().join("held-out.json");
    about.save(&path).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(&about.pictures[0]) && text.contains("data.held_out = 0.2"), "{text}");
    assert_eq!(load(&config(dir.path())).unwrap().test.len(), 0, "a share of nothing");
    let val = tree("train/a/1.png val/a/2.png");
    let fold = DataConfig { fold: Some([0, 2]), ..config(val.path()) };
    assert!(
        message(&fold).contains("data.fold = [0, 2] is for labeled pictures without a test split"),
        "{}",
        message(&fold)
    );
}

#[test]
fn mistakes_say_what_was_expected() {
    assert!(message(&config(tree("a.txt").path())).contains("holds no picture: expected files that end in jpg"));
    assert!(message(&config(Path::new("no/such"))).contains("no/such is no folder"));
    let data = tree("train/a.png");
    let at = DataConfig { train: Some("x".into()), ..config(data.path()) };
    assert!(message(&at).contains("data.train = \"x\"") && message(&at).contains("is no folder"));
    assert!(message(&config(tree("train/a/1.png val/a/x.txt").path())).contains("test images: "));
}

#[cfg(unix)]
#[test]
fn links_are_followed() {
    let (dir, other) = (tree("x/a.jpg"), tree("b.jpg"));
    std::os::unix::fs::symlink(other.path(), dir.path().join("y")).unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("x/loop")).unwrap();
    std::os::unix::fs::symlink("/nowhere", dir.path().join("x/b.jpg")).unwrap();
    assert_eq!(opened(&config(dir.path()))[0], "x/a.jpg=x y/b.jpg=y");
    let found = load(&config(dir.path())).unwrap().found;
    assert_eq!(found.passed_over.odd, 2, "{}", found.passed_over);
}
