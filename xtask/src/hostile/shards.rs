//! Damaged tar shards.

use super::bytes::{flipped, member, member_that_says, png, tar};
use super::case::{Case, Expect, Seeds, accepted, either, odd_file, refused, trained, write};
use crate::soak::Draws;
use std::sync::Arc;

/// Adds the cases of shards.
pub fn cases(seeds: &Seeds, cases: &mut Vec<Case>) {
    let good: Vec<Vec<u8>> = (0..8u8)
        .flat_map(|i| [member(&format!("{i}.png"), &png(12, 12, i * 30)), member(&format!("{i}.cls"), &[b'0' + i % 2])])
        .collect();
    let whole = tar(&good);
    let set: &[&str] = &["data.dataset=tar", "data.channels=1", "data.train=train-0.tar", "data.test=test-0.tar"];
    let mut add = |name: &str, expect: Expect, bytes: Vec<u8>| {
        let (bytes, test) = (Arc::new(bytes), whole.clone());
        cases.push(trained(seeds, &format!("tar-{name}"), set, expect, move |data| {
            write(&data.join("train-0.tar"), bytes.as_slice())?;
            write(&data.join("test-0.tar"), &test)
        }));
    };
    let shard = "train-0.tar";
    add("control", accepted(), whole.clone());
    add("empty", refused(&[shard]), Vec::new());
    add("of-no-members", refused(&[shard]), vec![0; 1024]);
    add("noise", refused(&[shard]), vec![0xff; 2000]);
    add("text", refused(&[shard]), b"no tar".to_vec());
    for at in [100, 512, 600, 700, 1100, whole.len() / 2 + 100] {
        // Cut between two members it is a whole one of fewer.
        add(&format!("cut-at-{at}"), either(&[shard]), whole[..at].to_vec());
    }
    let mut draws = Draws::new(4);
    for round in 0..24 {
        // Bits of pixels, and of names, may be any.
        add(&format!("bits-{round}"), either(&[shard]), flipped(&whole, 4, &mut draws));
    }
    let with = |more: Vec<u8>| tar(&[good.concat(), more]);
    for (name, size) in [
        ("7-GB", "77777777777\0"),
        ("letters", "xxxxxxxxxxx\0"),
        ("nothing", "\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("minus", "-0000000001\0"),
    ] {
        add(&format!("size-{name}"), either(&[shard]), with(member_that_says("9.png", &png(4, 4, 1), size, b'0')));
    }
    for (name, kind) in [
        ("link", b'1'),
        ("soft-link", b'2'),
        ("device", b'3'),
        ("block", b'4'),
        ("folder", b'5'),
        ("fifo", b'6'),
        ("unknown", b'Z'),
    ] {
        add(&format!("member-is-{name}"), accepted(), with(member_that_says("9.png", b"", "00000000000\0", kind)));
    }
    for (name, path) in [
        ("up", "../../../9.png"),
        ("absolute", "/etc/9.png"),
        ("none", ""),
        ("long", &"x".repeat(100)),
        ("escape-codes", "\u{1b}[31m9.png"),
    ] {
        add(
            &format!("name-{name}"),
            either(&[shard]),
            with([member(path, &png(8, 8, 1)), member("9.cls", b"0")].concat()),
        );
    }
    for (name, text) in [
        ("3e9", "3000000000"),
        ("4e7", "40000000"),
        ("largest", "18446744073709551615"),
        ("past-all", "99999999999999999999999999"),
        ("float", "1.5"),
        ("nan", "nan"),
        ("escape-codes", "\u{1b}[31mred"),
    ] {
        // One label among numbers: a class that is too large is told by its sample, and words make all labels words.
        add(
            &format!("cls-{name}"),
            either(&["9.cls|train-0.tar|data.dataset"]),
            with([member("9.png", &png(8, 8, 1)), member("9.cls", text.as_bytes())].concat()),
        );
    }
    for (name, text) in [("empty", ""), ("minus-1", "-1"), ("of-1-MB", &"7".repeat(1 << 20)), ("nulls", "\0\0\0")] {
        add(
            &format!("cls-{name}"),
            either(&["train-0.tar|data.dataset"]),
            with([member("9.png", &png(8, 8, 1)), member("9.cls", text.as_bytes())].concat()),
        );
    }
    for (name, text) in [
        ("half", "{\"label\": 1".to_string()),
        ("deep", format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))),
        ("3e9", "{\"label\": 3000000000}".into()),
        ("float", "{\"label\": 1e300}".into()),
        ("list", "{\"label\": [1]}".into()),
    ] {
        add(
            &format!("json-{name}"),
            either(&["9.json|train-0.tar|data.dataset"]),
            with([member("9.png", &png(8, 8, 1)), member("9.json", text.as_bytes())].concat()),
        );
    }
    add(
        "two-pictures-of-a-sample",
        either(&[shard]),
        with([member("9.png", &png(8, 8, 1)), member("9.jpg", &png(8, 8, 2)), member("9.cls", b"0")].concat()),
    );
    add("a-member-twice", either(&[shard]), with([member("0.png", &png(8, 8, 1)), member("0.cls", b"0")].concat()));
    add("20000-members", accepted(), with((0..20_000).flat_map(|i| member(&format!("t{i}.txt"), b"")).collect()));
    for kind in super::case::ODD_FILES {
        let test = whole.clone();
        cases.push(trained(seeds, &format!("tar-is-{kind}"), set, refused(&[shard]), move |data| {
            odd_file(kind, &data.join(shard))?;
            write(&data.join("test-0.tar"), &test)
        }));
    }
    for (name, pattern) in [
        ("backwards", "train-{3..0}.tar"),
        ("of-1e18", "train-{0..999999999999999999}.tar"),
        ("open", "train-{0..3"),
        ("missing", "train-{0..3}.tar"),
        ("of-stars", "**/**/**/*.tar*["),
    ] {
        let (test, train) = (whole.clone(), format!("data.train={pattern}"));
        let set = ["data.dataset=tar", "data.channels=1", &train, "data.test=test-0.tar"];
        cases.push(trained(seeds, &format!("tar-pattern-{name}"), &set, either(&["train|tar"]), move |data| {
            write(&data.join("train-0.tar"), &test)?;
            write(&data.join("test-0.tar"), &test)
        }));
    }
}
