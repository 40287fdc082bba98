//! Damaged pictures and data sets.

use super::bytes::{bmp, flipped, idx, npy, pgm, png, png_that_says, tiff};
use super::case::{Case, Expect, Seeds, accepted, either, odd_file, refused, trained, words, write};
use super::shards;
use crate::soak::Draws;
use anyhow::Result;
use std::path::Path;
use std::sync::Arc;

/// All cases.
///
/// # Errors
/// None so far.
pub fn cases(seeds: &Seeds) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    formats(seeds, &mut cases);
    folders(seeds, &mut cases);
    memory(seeds, &mut cases);
    tables(seeds, &mut cases);
    shards::cases(seeds, &mut cases);
    Ok(cases)
}

/// A picture that a checkpoint is applied to: left out with its name, or an error with `--strict`.
fn shown(
    seeds: &Seeds,
    cases: &mut Vec<Case>,
    name: &str,
    file: &str,
    good: bool,
    make: impl Fn(&Path) -> Result<()> + Clone + Send + Sync + 'static,
) {
    for strict in [false, true] {
        let (seeds, file, make) = (seeds.clone(), file.to_string(), make.clone());
        // A folder of one damaged picture has none left: that may be said as an error.
        let expect = match (good, strict) {
            (true, _) => accepted(),
            (false, true) => refused(&[&file]),
            (false, false) => Expect::Accepted(vec![file.clone()]),
        };
        let (name, option) = if strict { (format!("{name}-strict"), " --strict") } else { (name.to_string(), "") };
        cases.push(Case::new("pictures", name, "simclr-eval", expect, move |dir| {
            let pictures = dir.join("pictures");
            write(&pictures.join("good.png"), png(8, 8, 3))?;
            make(&pictures.join(&file))?;
            let checkpoint = seeds.path("finetuned");
            Ok(words(&format!(
                "classify --checkpoint {checkpoint} --images {} --device cpu{option}",
                pictures.display()
            )))
        }));
    }
}

fn formats(seeds: &Seeds, cases: &mut Vec<Case>) {
    let good = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (6, 5, 3), }", 90);
    let seeds_of: [(&str, Vec<u8>); 6] =
        [("png", png(9, 7, 5)), ("pgm", pgm(6, 5)), ("bmp", bmp()), ("tiff", tiff()), ("npy", good), ("gif", gif())];
    let mut draws = Draws::new(2);
    for (end, whole) in seeds_of {
        let file = format!("x.{end}");
        let bytes = Arc::new(whole.clone());
        if end != "gif" {
            shown(seeds, cases, &format!("{end}-control"), &file, true, move |path| write(path, bytes.as_slice()));
        }
        for at in [0, 1, 7, whole.len() / 3] {
            let bytes = whole[..at].to_vec();
            shown(seeds, cases, &format!("{end}-cut-at-{at}"), &file, false, move |path| write(path, &bytes));
        }
        for round in 0..6 {
            let bytes = flipped(&whole, 3, &mut draws);
            let (seeds, file) = (seeds.clone(), file.clone());
            // Bits of pixels may be any.
            cases.push(Case::new(
                "pictures",
                format!("{end}-bits-{round}"),
                "simclr-eval",
                either(&[&file]),
                move |dir| {
                    write(&dir.join(&file), &bytes)?;
                    let (checkpoint, picture) = (seeds.path("finetuned"), dir.join(&file));
                    Ok(words(&format!(
                        "classify --checkpoint {checkpoint} --images {} --device cpu --strict",
                        picture.display()
                    )))
                },
            ));
        }
    }
    for (name, file, bytes) in [
        ("png-of-4-GB-pixels", "x.png", png_that_says(65_536, 65_536)),
        ("png-of-no-pixels", "x.png", png_that_says(0, 0)),
        ("png-wider-than-a-number", "x.png", png_that_says(u32::MAX, u32::MAX)),
        ("png-taller-than-it-is", "x.png", png_that_says(4, 4000)),
        ("webp-of-noise", "x.webp", [b"RIFF\xff\xff\xff\xffWEBPVP8L".as_slice(), &[0xff; 60]].concat()),
        ("jpeg-of-a-header", "x.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0".to_vec()),
        ("jpeg-of-4-GB-pixels", "x.jpg", jpeg_that_says(65_535, 65_535)),
        ("jpeg-of-no-pixels", "x.jpg", jpeg_that_says(0, 0)),
        ("text-for-a-picture", "x.jpg", b"this is a text".to_vec()),
        ("avif", "x.png", b"\0\0\0\x20ftypavif\0\0\0\0avifmif1".to_vec()),
        ("pgm-of-1e9-pixels", "x.pgm", b"P2 1000000000 1000000000 255\n1 2 3".to_vec()),
        ("pgm-of-no-numbers", "x.pgm", b"P2 3 3 255\n1 2 3".to_vec()),
        ("pgm-of-words", "x.pgm", b"P2 three 3 255\n1 2 3".to_vec()),
        ("tiff-of-a-loop", "x.tiff", b"II*\0\x08\0\0\0\0\0\x08\0\0\0".to_vec()),
        ("tiff-of-nothing", "x.tiff", b"II*\0\xff\xff\xff\xff".to_vec()),
        (
            "npy-of-1e18-numbers",
            "x.npy",
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1000000000, 3), }", 9),
        ),
        (
            "npy-that-overflows",
            "x.npy",
            npy("{'descr': '<f8', 'fortran_order': False, 'shape': (18446744073709551615, 2, 3), }", 9),
        ),
        (
            "npy-of-negative-lengths",
            "x.npy",
            npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, 3, 3), }", 18),
        ),
        ("npy-of-objects", "x.npy", npy("{'descr': '|O', 'fortran_order': False, 'shape': (2, 3, 3), }", 18)),
        ("npy-of-no-dimensions", "x.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (), }", 1)),
        ("npy-of-code", "x.npy", npy("__import__('os').system('true')", 1)),
        ("npy-of-deep-brackets", "x.npy", npy(&"(".repeat(60_000), 1)),
        (
            "npy-of-nan",
            "x.npy",
            [npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 1), }", 0), vec![0xff; 16]].concat(),
        ),
    ] {
        shown(seeds, cases, name, file, false, move |path| write(path, &bytes));
    }
    for kind in ["fifo", "zero", "broken-link", "link-to-itself"] {
        let (seeds, kind) = (seeds.clone(), kind);
        cases.push(Case::new(
            "pictures",
            format!("named-picture-is-{kind}"),
            "simclr-eval",
            refused(&["x.png"]),
            move |dir| {
                odd_file(kind, &dir.join("x.png"))?;
                let (checkpoint, picture) = (seeds.path("finetuned"), dir.join("x.png"));
                Ok(words(&format!(
                    "classify --checkpoint {checkpoint} --images {} --device cpu --strict",
                    picture.display()
                )))
            },
        ));
    }
}

/// A picture that lies in a folder of classes beside good ones: passed over with its name, or an error where `corrupt = "fail"`.
fn folders(seeds: &Seeds, cases: &mut Vec<Case>) {
    let good = |data: &Path| -> Result<()> {
        for class in ["a", "b"] {
            for i in 0..6u8 {
                write(&data.join(format!("train/{class}/{i}.png")), png(12, 12, i * 31))?;
                write(&data.join(format!("val/{class}/{i}.png")), png(12, 12, i * 29))?;
            }
        }
        Ok(())
    };
    let folder: &[&str] = &["data.dataset=folder", "data.channels=1"];
    cases.push(trained(seeds, "folder-control", folder, accepted(), good));
    for (name, bytes) in [("empty", Vec::new()), ("noise", vec![0xff; 99]), ("cut", png(12, 12, 9)[..60].to_vec())] {
        for (mode, expect) in [("skip", Expect::Accepted(vec!["5.png".into()])), ("fail", refused(&["5.png"]))] {
            let bytes = bytes.clone();
            let set = [
                folder,
                &[
                    if mode == "skip" { "data.corrupt=skip" } else { "data.corrupt=fail" },
                    "pretrain.training.length={epochs=1}",
                ],
            ]
            .concat();
            cases.push(trained(seeds, &format!("folder-with-{name}-{mode}"), &set, expect, move |data| {
                good(data)?;
                write(&data.join("train/b/5.png"), &bytes)
            }));
        }
    }
    // What is no file is no picture: it is passed over, or an error; it keeps nobody waiting.
    for kind in ["fifo", "zero", "broken-link", "link-to-itself", "folder"] {
        cases.push(trained(seeds, &format!("folder-with-{kind}"), folder, either(&["5.png"]), move |data| {
            good(data)?;
            odd_file(kind, &data.join("train/b/5.png"))
        }));
    }
    cases.push(trained(seeds, "folder-of-links-in-a-circle", folder, either(&["data"]), move |data| {
        good(data)?;
        odd_file("link-to-itself", &data.join("train/c"))
    }));
    cases.push(trained(seeds, "folder-of-strange-names", folder, accepted(), move |data| {
        good(data)?;
        ["ü.png", " .png", "-.png", "a\nb.png", "a\u{1b}[31m.png", "..png"]
            .iter()
            .try_for_each(|name| write(&data.join("train/a").join(name), png(9, 9, 7)))
    }));
    cases.push(trained(seeds, "folder-of-a-class-called-by-escape-codes", folder, accepted(), move |data| {
        good(data)?;
        write(&data.join("train/\u{1b}[31mred/0.png"), png(9, 9, 7))
    }));
    cases.push(trained(seeds, "folder-all-damaged", folder, refused(&["data"]), |data| {
        for i in 0..6 {
            write(&data.join(format!("train/a/{i}.png")), [0xff; 40])?;
            write(&data.join(format!("val/a/{i}.png")), [0xff; 40])?;
        }
        Ok(())
    }));
    cases.push(trained(seeds, "folder-empty", folder, refused(&["data"]), |_| Ok(())));
    cases.push(trained(seeds, "folder-of-texts", folder, refused(&["data"]), |data| {
        write(&data.join("train/a/x.txt"), "text")
    }));
    for (name, set, parts) in [
        ("no-such-train", "data.train=nowhere", "data.train"),
        ("train-outside", "data.train=../../../../etc", "data.train"),
        ("no-such-labels", "data.labels=nowhere.csv", "nowhere.csv"),
        ("no-such-unlabeled", "data.unlabeled=nowhere", "data.unlabeled"),
    ] {
        cases.push(trained(seeds, &format!("folder-{name}"), &[folder, &[set]].concat(), refused(&[parts]), good));
    }
}

/// Data sets that lie in memory: IDX, CIFAR, STL-10.
fn memory(seeds: &Seeds, cases: &mut Vec<Case>) {
    let good = |data: &Path| -> Result<()> {
        for (name, count) in super::seeds::IDX {
            write(
                &data.join(format!("{name}-images-idx3-ubyte")),
                idx(0x803, &[count, 16, 16], &vec![9; count as usize * 256]),
            )?;
            write(&data.join(format!("{name}-labels-idx1-ubyte")), idx(0x801, &[count], &vec![1; count as usize]))?;
        }
        Ok(())
    };
    let (images, labels) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    for (name, file, bytes) in [
        ("magic", images, idx(0x903, &[16, 16, 16], &[0; 4096])),
        ("floats", images, idx(0xd03, &[16, 16, 16], &[0; 4096])),
        ("cut", images, idx(0x803, &[16, 16, 16], &[0; 4000])),
        ("and-more", images, idx(0x803, &[16, 16, 16], &[0; 5000])),
        ("empty", images, Vec::new()),
        ("three-bytes", images, vec![0, 0, 8]),
        ("lengths-cut", images, idx(0x803, &[16, 16], &[])),
        ("of-4-billion", images, idx(0x803, &[u32::MAX, u32::MAX, u32::MAX], &[0; 64])),
        ("of-none", images, idx(0x803, &[0, 16, 16], &[])),
        ("of-no-pixels", images, idx(0x803, &[16, 0, 0], &[])),
        ("fewer-labels", labels, idx(0x801, &[9], &[1; 9])),
        ("labels-magic", labels, idx(0x803, &[16], &[1; 16])),
        ("labels-cut", labels, idx(0x801, &[16], &[1; 3])),
        ("labels-of-4-billion", labels, idx(0x801, &[u32::MAX], &[1; 16])),
        ("labels-missing", labels, b"gone".to_vec()),
    ] {
        cases.push(trained(seeds, &format!("idx-{name}"), &["data.dataset=idx"], refused(&[file]), move |data| {
            good(data)?;
            write(&data.join(file), &bytes)
        }));
    }
    for kind in super::case::ODD_FILES {
        cases.push(trained(
            seeds,
            &format!("idx-is-{kind}"),
            &["data.dataset=idx"],
            refused(&["train-images-idx3-ubyte|data.dir"]),
            move |data| {
                good(data)?;
                odd_file(kind, &data.join(images))
            },
        ));
    }
    for (name, file, bytes) in [
        ("zip-cut", "data_batch_1.bin", vec![1; 99]),
        ("empty", "data_batch_1.bin", vec![]),
        ("noise", "cifar-10-binary.tar.gz", vec![0xff; 999]),
    ] {
        let expect = refused(&["data_batch_1.bin|cifar-10|test_batch.bin|CIFAR"]);
        cases.push(trained(seeds, &format!("cifar-{name}"), &["data.dataset=cifar10"], expect, move |data| {
            write(&data.join(file), &bytes)
        }));
    }
    let labels = [vec![11; 3073], vec![0; 3072 * 3]].concat();
    cases.push(trained(seeds, "cifar-of-wrong-lengths", &["data.dataset=cifar10"], refused(&["bin"]), move |data| {
        (1..=5).try_for_each(|i| write(&data.join(format!("data_batch_{i}.bin")), &labels))?;
        write(&data.join("test_batch.bin"), &labels)
    }));
    for (name, bytes) in [("cut", vec![1; 27_647]), ("empty", vec![])] {
        cases.push(trained(
            seeds,
            &format!("stl10-{name}"),
            &["data.dataset=stl10"],
            refused(&["bin|STL"]),
            move |data| {
                ["train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "unlabeled_X.bin"]
                    .iter()
                    .try_for_each(|file| write(&data.join(file), &bytes))
            },
        ));
    }
}

/// Tables of labels, and lists of the pictures whose label may be used.
fn tables(seeds: &Seeds, cases: &mut Vec<Case>) {
    let pictures = |data: &Path| -> Result<()> {
        (0..6u8).try_for_each(|i| write(&data.join(format!("train/{i}.png")), png(12, 12, i * 31)))
    };
    let rows: String = (0..6).map(|i| format!("{i}.png,{}\n", i % 2)).collect();
    let set: &[&str] =
        &["data.dataset=folder", "data.channels=1", "data.labels={data}/labels.csv", "data.held_out=0.3"];
    let good = format!("file,label\n{rows}");
    for (name, text, expect) in [
        ("control", good.clone().into_bytes(), accepted()),
        ("empty", Vec::new(), refused(&["labels.csv"])),
        ("of-a-header", b"file,label\n".to_vec(), refused(&["labels.csv"])),
        ("not-utf8", [good.as_bytes(), b"\xff\xfe,1\n"].concat(), either(&["labels.csv"])),
        ("of-nulls", vec![0; 200], refused(&["labels.csv"])),
        ("of-one-column", b"file\n0.png\n".to_vec(), refused(&["labels.csv"])),
        ("of-other-columns", b"x,y,z\n0.png,1,2\n".to_vec(), either(&["labels.csv"])),
        ("of-unequal-rows", format!("{good}1.png,1,1,1,1\n").into_bytes(), either(&["labels.csv"])),
        ("of-two-labels", format!("{good}1.png,0\n").into_bytes(), either(&["labels.csv"])),
        ("of-unknown-pictures", b"file,label\nx.png,1\ny.png,2\n".to_vec(), refused(&["labels.csv"])),
        ("of-huge-classes", format!("{good}0.png,99999999999999999999\n").into_bytes(), either(&["labels.csv"])),
        ("of-3e9", good.replace(",1\n", ",3000000000\n").into_bytes(), either(&["labels.csv"])),
        ("of-escape-codes", good.replace(",1\n", ",\u{1b}[31m\n").into_bytes(), accepted()),
        ("of-an-open-quote", format!("{good}\"1.png,1\n").into_bytes(), either(&["labels.csv"])),
        ("of-a-long-row", format!("{good}{},1\n", "x".repeat(5 << 20)).into_bytes(), either(&["labels.csv"])),
        ("with-a-mark", [b"\xef\xbb\xbf", good.as_bytes()].concat(), accepted()),
    ] {
        cases.push(trained(seeds, &format!("labels-{name}"), set, expect, move |data| {
            pictures(data)?;
            write(&data.join("labels.csv"), &text)
        }));
    }
    for kind in super::case::ODD_FILES {
        cases.push(trained(seeds, &format!("labels-is-{kind}"), set, refused(&["labels.csv"]), move |data| {
            pictures(data)?;
            odd_file(kind, &data.join("labels.csv"))
        }));
    }
    for (name, text) in [
        ("empty", ""),
        ("unknown", "nobody.png\n"),
        ("a-folder-only", "/\n"),
        ("in-other-folders", "x/9.png\ny/9.png\n"),
    ] {
        let seeds = seeds.clone();
        cases.push(Case::new(
            "pictures",
            format!("list-{name}"),
            "simclr-finetune",
            refused(&["list.txt"]),
            move |dir| {
                let data = dir.join("data");
                for i in 0..8u8 {
                    write(&data.join(format!("train/{}/{i}.png", i % 2)), png(12, 12, i))?;
                    write(&data.join(format!("val/{}/{i}.png", i % 2)), png(12, 12, i))?;
                }
                write(&data.join("list.txt"), text)?;
                let mut line = words(&format!(
                    "--config {} --device cpu --out {} --from scratch --labels 0.5",
                    seeds.path("hostile.toml"),
                    dir.join("out").display()
                ));
                let list = format!("data.lists=[{{labels=0.5, file=\"{}\"}}]", data.join("list.txt").display());
                for pair in ["data.dataset=folder", "data.channels=1", &format!("data.dir={}", data.display()), &list] {
                    line.extend(["--set".to_string(), pair.to_string()]);
                }
                Ok(line)
            },
        ));
    }
}

/// A GIF's header, with a frame that is not there.
fn gif() -> Vec<u8> {
    b"GIF89a\x04\0\x04\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x04\0\x04\0\0\x02\x04\x84\x8f\x09\x05\0;".to_vec()
}

/// A JPEG whose header says what it does not hold.
fn jpeg_that_says(width: u16, height: u16) -> Vec<u8> {
    let size = [height.to_be_bytes(), width.to_be_bytes()].concat();
    [b"\xff\xd8\xff\xc0\0\x0b\x08".as_slice(), &size, b"\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\x3f\0\xff\xd9"]
        .concat()
}
