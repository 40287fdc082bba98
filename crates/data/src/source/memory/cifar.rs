//! CIFAR-10 and CIFAR-100 in their binary version, from a folder or straight from the archive.

use super::in_memory::InMemory;
use crate::image::Images;
use crate::source::dataset::{Count, DatasetInfo};
use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use simclr_core::disk;
use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::Path;

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
const PAGE: &str = "https://www.cs.toronto.edu/~kriz/cifar.html";

/// What tells the two datasets apart.
#[derive(Clone, Copy)]
struct Format {
    name: &'static str,
    /// The folder in the archive.
    folder: &'static str,
    archive: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    /// Records of a training file and of the test file.
    records: [usize; 2],
    /// Bytes before the pixels of a record; the last is the label.
    label_bytes: usize,
    /// Names of the classes, with spaces between.
    classes: &'static str,
}

/// CIFAR-10.
pub const CIFAR10: DatasetInfo = DatasetInfo {
    name: "cifar10",
    title: "CIFAR-10",
    about: "CIFAR-10, its binary version: data.dir holds the files or the .tar.gz",
    citation: Some(
        "Krizhevsky 2009, Learning multiple layers of features from tiny images; https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    train: Count::Exactly(50_000),
    test: Count::Exactly(10_000),
    classes: Some(10),
    hub: Some("uoft-cs/cifar10"),
    of_files: false,
    open: |config| load(TEN, config.dir.as_deref())?.checked(config),
};

/// CIFAR-100 with its fine labels.
pub const CIFAR100: DatasetInfo = DatasetInfo {
    name: "cifar100",
    title: "CIFAR-100",
    about: "CIFAR-100 with its fine labels, its binary version: data.dir holds the files or the .tar.gz",
    citation: CIFAR10.citation,
    train: Count::Exactly(50_000),
    test: Count::Exactly(10_000),
    classes: Some(100),
    hub: Some("uoft-cs/cifar100"),
    of_files: false,
    open: |config| load(HUNDRED, config.dir.as_deref())?.checked(config),
};

/// Most bytes of a file of images: the largest has 154 million.
const MOST_FILE: u64 = 256 << 20;
/// Most bytes that are unpacked of an archive.
const MOST_ARCHIVE: u64 = 1 << 30;

/// The files of CIFAR-10.
const TEN: Format = Format {
    name: "cifar10",
    folder: "cifar-10-batches-bin",
    archive: "cifar-10-binary.tar.gz",
    train: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
    test: "test_batch.bin",
    records: [10_000, 10_000],
    label_bytes: 1,
    classes: "airplane automobile bird cat deer dog frog horse ship truck",
};

/// The files of CIFAR-100.
const HUNDRED: Format = Format {
    name: "cifar100",
    folder: "cifar-100-binary",
    archive: "cifar-100-binary.tar.gz",
    train: &["train.bin"],
    test: "test.bin",
    records: [50_000, 10_000],
    label_bytes: 2,
    classes: "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel \
              can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur \
              dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion \
              lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree \
              pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea \
              seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table \
              tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman \
              worm",
};

/// Loads it from `dir`: its files, the archive's folder within, or the archive.
///
/// # Errors
/// When nothing is there (the message says where to get it) or a file is malformed.
fn load(format: Format, dir: Option<&Path>) -> Result<InMemory> {
    let Format { name, folder, archive, .. } = format;
    let advice = format!(
        "download {archive} from {PAGE} (binary version) into a folder and name that folder as data.dir; \
         unpacking it is not needed"
    );
    let Some(dir) = dir else { bail!("{name} needs data.dir: {advice}") };
    let test_file = |dir: &Path| dir.join(format.test).is_file();
    let files = if let Some(dir) = [dir.to_path_buf(), dir.join(folder)].iter().find(|dir| test_file(dir)) {
        from_folder(format, dir)?
    } else if dir.join(archive).is_file() {
        let path = dir.join(archive);
        from_archive(format, &path).with_context(|| format!("in {}: is the download complete?", path.display()))?
    } else {
        bail!(
            "{name} was not found in {}: expected {} and {}, there or in {folder}, or {archive}; {advice}",
            dir.display(),
            format.train.join(", "),
            format.test
        )
    };
    let parse = |names: &[&str], records| {
        let mut images = Images { height: SIDE, width: SIDE, channels: 3, data: Vec::new(), labels: Vec::new() };
        for &name in names {
            let bytes = files.get(name).with_context(|| format!("{name} is missing"))?;
            append(bytes, format.label_bytes, records, &mut images)
                .with_context(|| format!("{name} of {}", dir.display()))?;
        }
        anyhow::Ok(images)
    };
    Ok(InMemory {
        name: name.into(),
        classes: format.classes.split_whitespace().map(String::from).collect(),
        train: parse(format.train, format.records[0])?,
        test: parse(&[format.test], format.records[1])?,
    })
}

impl Format {
    fn files(&self) -> impl Iterator<Item = &'static str> {
        self.train.iter().copied().chain([self.test])
    }
}

fn from_folder(format: Format, dir: &Path) -> Result<HashMap<String, Vec<u8>>> {
    let read = |name: &str| {
        let path = dir.join(name);
        let bytes = disk::read_small(&path, MOST_FILE)?;
        Ok((name.to_string(), bytes))
    };
    format.files().map(read).collect()
}

fn from_archive(format: Format, path: &Path) -> Result<HashMap<String, Vec<u8>>> {
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(disk::open(path)?)).take(MOST_ARCHIVE));
    let mut files = HashMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.file_name().map(|name| name.to_string_lossy().into_owned());
        if let Some(name) = name.filter(|name| format.files().any(|file| file == name)) {
            let mut bytes = Vec::new();
            (&mut entry).take(MOST_FILE + 1).read_to_end(&mut bytes)?;
            ensure!(bytes.len() as u64 <= MOST_FILE, "{name} unpacks to more than {MOST_FILE} bytes");
            files.insert(name, bytes);
        }
    }
    Ok(files)
}

/// Appends the records of a file; its planes of red, green and blue become interleaved pixels.
///
/// # Errors
/// When there are not `records` of them.
pub fn append(bytes: &[u8], label_bytes: usize, records: usize, images: &mut Images) -> Result<()> {
    let record = label_bytes + 3 * PLANE;
    let expected = record * records;
    ensure!(
        bytes.len() == expected,
        "{} bytes, expected {expected} ({records} records of {record}): fetch it again",
        bytes.len()
    );
    for record in bytes.chunks_exact(record) {
        let (label, planes) = record.split_at(label_bytes);
        images.labels.push(u32::from(label[label_bytes - 1]));
        images.data.extend((0..3 * PLANE).map(|i| planes[i % 3 * PLANE + i / 3]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs::File;

    const SMALL: Format = Format { train: &["a.bin", "b.bin"], test: "t.bin", records: [2, 1], ..TEN };
    const FINE: Format = Format { train: &["a.bin"], test: "t.bin", records: [1, 1], ..HUNDRED };

    /// A record whose planes are filled with `10 l + 1`, `+ 2`, `+ 3`, but for the second pixel of green, 200.
    fn record(labels: &[u8]) -> Vec<u8> {
        let label = labels[labels.len() - 1];
        let mut bytes = labels.to_vec();
        for plane in 1..=3 {
            bytes.extend([10 * label + plane; PLANE]);
        }
        bytes[labels.len() + PLANE + 1] = 200;
        bytes
    }

    fn small_files() -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("a.bin", [record(&[0]), record(&[1])].concat()),
            ("b.bin", [record(&[2]), record(&[3])].concat()),
            ("t.bin", record(&[9])),
        ]
    }

    fn check(dataset: &InMemory) {
        assert_eq!((dataset.train.labels.as_slice(), dataset.test.labels.as_slice()), (&[0, 1, 2, 3][..], &[9][..]));
        assert_eq!(dataset.train.get(2).data[..9], [21, 22, 23, 21, 200, 23, 21, 22, 23]);
        assert_eq!(dataset.classes.len(), 10);
    }

    #[test]
    fn reads_folders_and_archives() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join(TEN.folder);
        std::fs::create_dir(&inner).unwrap();
        for (name, bytes) in small_files() {
            std::fs::write(inner.join(name), bytes).unwrap();
        }
        check(&load(SMALL, Some(&inner)).unwrap());
        check(&load(SMALL, Some(dir.path())).unwrap());

        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join(TEN.archive)).unwrap();
        let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(file, flate2::Compression::fast()));
        for (name, bytes) in small_files() {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            archive.append_data(&mut header, Path::new(TEN.folder).join(name), bytes.as_slice()).unwrap();
        }
        archive.into_inner().unwrap().finish().unwrap();
        check(&load(SMALL, Some(dir.path())).unwrap());
    }

    #[test]
    fn fine_labels_come_second() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.bin"), record(&[19, 11])).unwrap();
        std::fs::write(dir.path().join("t.bin"), record(&[3, 5])).unwrap();
        let dataset = load(FINE, Some(dir.path())).unwrap();
        assert_eq!((dataset.train.labels, dataset.test.labels, dataset.classes.len()), (vec![11], vec![5], 100));
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let message = format!("{:#}", load(TEN, None).unwrap_err());
        assert!(message.contains("needs data.dir") && message.contains(PAGE), "{message}");
        let dir = tempfile::tempdir().unwrap();
        let message = format!("{:#}", load(HUNDRED, Some(dir.path())).unwrap_err());
        assert!(message.contains("train.bin") && message.contains("cifar-100-binary.tar.gz"), "{message}");
        for (name, bytes) in small_files() {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        std::fs::write(dir.path().join("b.bin"), &record(&[2])[1..]).unwrap();
        let message = format!("{:#}", load(SMALL, Some(dir.path())).unwrap_err());
        assert!(message.contains("b.bin") && message.contains("3072 bytes, expected 6146"), "{message}");
        std::fs::remove_file(dir.path().join("b.bin")).unwrap();
        let message = format!("{:#}", load(SMALL, Some(dir.path())).unwrap_err());
        assert!(message.contains("b.bin"), "{message}");
    }
}
