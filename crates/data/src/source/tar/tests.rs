//! Tests of tar shards: grouping, labels, hostile archives.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::access::Source;
use simclr_core::rng::{Purpose, Rng};
use tar::{Builder, EntryType, Header};

fn header(size: usize, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    header
}

/// A member whose name is written as it is, hostile or not.
fn add(archive: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, bytes: &[u8]) {
    let mut header = header(bytes.len(), kind);
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    archive.append(&header, bytes).unwrap();
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    members.iter().for_each(|(name, bytes)| add(&mut archive, name, EntryType::Regular, bytes));
    archive.into_inner().unwrap()
}

fn opened(shards: &[Vec<u8>]) -> Result<(tempfile::TempDir, Files)> {
    let dir = tempfile::tempdir().unwrap();
    let paths = shards.iter().enumerate().map(|(i, bytes)| {
        let path = dir.path().join(format!("s-{i}.tar"));
        std::fs::write(&path, bytes).unwrap();
        path
    });
    let files = open(paths.collect())?;
    Ok((dir, files))
}

fn names(files: &Files) -> Vec<&str> {
    (0..Source::len(files)).map(|i| files.name(i).unwrap()).collect()
}

fn message(shard: Vec<u8>) -> String {
    format!("{:#}", opened(&[shard]).err().expect("an error"))
}

#[test]
fn members_of_a_sample_belong_together() {
    let first = archive(&[
        ("x/b.jpg", b"picture b"),
        ("x/b.cls", b"3\n"),
        ("x/a.json", br#"{"label": 1, "text": "y"}"#),
        ("x/a.png", b"picture a"),
        ("x/b.txt", b"words"),
        ("x/only.cls", b"9"),
    ]);
    let (_dir, files) = opened(&[first, archive(&[("c.seg.WEBP", b"picture c"), (".d.jpg", b"hidden")])]).unwrap();
    assert_eq!(names(&files), ["b", "a", "c.seg"]);
    assert_eq!((files.labels.as_slice(), &files.classes), (&[Some(3), Some(1), None][..], &Classes::Numbers));
    assert_eq!(files.store.shards(), [0..2, 2..3]);
    for (i, bytes) in [b"picture b", b"picture a", b"picture c"].iter().enumerate() {
        assert_eq!(files.store.read(i).unwrap(), *bytes);
    }
    assert!(Source::place(&files, 2).starts_with("c.seg.WEBP in ") && Source::place(&files, 2).ends_with("s-1.tar"));
}

#[test]
fn without_numbers_names_are_classes() {
    let (_dir, files) = opened(&[archive(&[("n02000000_7.JPEG", b"p"), ("n01440764_10026.JPEG", b"q")])]).unwrap();
    assert_eq!(files.classes, Classes::Found(vec!["n01440764".into(), "n02000000".into()]));
    assert_eq!(files.labels, [Some(1), Some(0)]);
    let (_dir, files) = opened(&[archive(&[("train/dog/1.jpg", b"p"), ("train/cat/2.jpg", b"q")])]).unwrap();
    assert_eq!(files.classes, Classes::Found(vec!["cat".into(), "dog".into()]));
    let (_dir, files) = opened(&[archive(&[("all/1.jpg", b"p"), ("all/2.jpg", b"q")])]).unwrap();
    assert_eq!(files.labels, [None, None], "one folder tells no classes apart");
}

#[test]
fn more_shards_than_open_files() {
    let shards: Vec<Vec<u8>> =
        (0..OPEN.get() + 5).map(|i| archive(&[(&format!("{i}.jpg"), i.to_string().as_bytes())])).collect();
    let (_dir, files) = opened(&shards).unwrap();
    for round in 0..2 {
        for i in 0..shards.len() {
            assert_eq!(files.store.read(i).unwrap(), i.to_string().as_bytes(), "round {round}");
        }
    }
}

#[test]
fn hostile_names_mean_nothing_and_links_are_not_followed() {
    let mut hostile = Builder::new(Vec::new());
    add(&mut hostile, "/etc/n01440764_1.jpg", EntryType::Regular, b"absolute");
    add(&mut hostile, "../../n01440764_2.jpg", EntryType::Regular, b"upwards");
    for kind in [EntryType::Symlink, EntryType::Link] {
        let mut link = header(0, kind);
        link.set_path("passwd.jpg").unwrap();
        link.set_link_name_literal("/etc/passwd").unwrap();
        link.set_cksum();
        hostile.append(&link, &[][..]).unwrap();
    }
    add(&mut hostile, "device.jpg", EntryType::Char, b"");
    add(&mut hostile, "dir.jpg", EntryType::Directory, b"");
    add(&mut hostile, "nul.jpg", EntryType::Regular, b"");
    let (_dir, files) = opened(&[hostile.into_inner().unwrap()]).unwrap();
    assert_eq!(names(&files), ["n01440764_1", "n01440764_2", "nul"]);
    assert_eq!(files.store.read(1).unwrap(), b"upwards");
    assert_eq!(files.store.read(2).unwrap(), b"", "which the decoder calls empty");
}

#[test]
fn sizes_beyond_the_file_are_errors() {
    for size in [600u64, 1 << 33, u64::MAX / 2, u64::MAX] {
        let mut archive = Builder::new(Vec::new());
        let mut head = header(0, EntryType::Regular);
        head.set_path("a.jpg").unwrap();
        head.set_size(size);
        head.set_cksum();
        archive.append(&head, &[][..]).unwrap();
        let text = message(archive.into_inner().unwrap()[..1024].to_vec());
        assert!(text.contains("s-0.tar") && (text.contains("claims") || text.contains("whole tar")), "{size}: {text}");
    }
    let whole = archive(&[("a.jpg", &[7; 700]), ("b.jpg", &[8; 700])]);
    for (cut, part) in [(0, "empty"), (100, "tar"), (600, "claims 700"), (1800, "no whole tar file")] {
        let text = message(whole[..cut].to_vec());
        assert!(text.contains(part) && text.contains("s-0.tar"), "{cut}: {text}");
    }
    assert!(message(vec![7; 2000]).contains("no whole tar file"));
    assert!(message(archive(&[("a.txt", b"x")])).contains("hold no picture"));
}

#[test]
fn labels_that_can_be_none_name_their_member() {
    for (member, text, part) in [
        ("a.cls", "4000000000", "can be no class"),
        ("a.cls", "99999999999999999999", "can be no class"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", r#"{"label": 5000000000}"#, "can be no class"),
        ("a.json", r#"{"label": 1.5}"#, "is no class"),
    ] {
        let text = message(archive(&[("a.jpg", b"p"), (member, text.as_bytes())]));
        assert!(text.contains(part) && text.contains(member), "{text}");
    }
    assert_eq!(parse_json(r#"{"label": -1}"#).unwrap(), None);
    assert_eq!(parse_json("[1]").unwrap(), None);
}

#[test]
fn words_are_classes_and_negative_numbers_no_label() {
    let members: &[(&str, &[u8])] = &[
        ("x/a.jpg", b"p"),
        ("x/a.cls", b"dog\n"),
        ("y/b.jpg", b"p"),
        ("y/b.json", br#"{"label": "cat"}"#),
        ("y/c.jpg", b"p"),
        ("y/c.cls", b"-1"),
        ("y/d.jpg", b"p"),
        ("y/d.cls", b""),
    ];
    let (_dir, files) = opened(&[archive(members)]).unwrap();
    assert_eq!(files.classes, Classes::Found(vec!["cat".into(), "dog".into()]));
    assert_eq!(files.labels, [Some(1), Some(0), None, None]);
    let (_dir, files) = opened(&[archive(&members[4..])]).unwrap();
    assert_eq!(files.labels, [None, None], "folders are no classes where samples say that they have none");
    assert_eq!((files.path(1), Source::file_size(&files, 1)), (Some("y/d.jpg"), Some(1)));
}

#[test]
fn mutated_shards_never_panic() {
    let whole = archive(&[("n01440764_1.jpg", &[7; 700]), ("n01440764_1.cls", b"1"), ("b.json", b"{\"label\": 2}")]);
    let mut rng = Rng::stream(2, Purpose::Test, &[]);
    let path = tempfile::NamedTempFile::new().unwrap();
    for _ in 0..600 {
        let mut bytes = whole.clone();
        let at = rng.below(3) * 512 * (1 + rng.below(2)) + rng.below(512);
        bytes[at.min(whole.len() - 1)] = rng.next_u64() as u8;
        // A header whose sum is right again goes further.
        for block in [0, 1536, 2560] {
            if rng.chance(0.7) {
                let mut head = Header::from_byte_slice(&bytes[block..block + 512]).clone();
                head.set_cksum();
                bytes[block..block + 512].copy_from_slice(head.as_bytes());
            }
        }
        std::fs::write(path.path(), &bytes).unwrap();
        if let Ok(files) = open(vec![path.path().into()]) {
            (0..Source::len(&files)).for_each(|i| drop(files.store.read(i)));
        }
    }
}
