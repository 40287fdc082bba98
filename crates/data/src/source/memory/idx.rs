//! The IDX format of the MNIST family: two files a split, gzipped or not.

use super::in_memory::InMemory;
use crate::image::Images;
use crate::source::dataset::{Count, DatasetInfo, OWN_IMAGES};
use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use simclr_core::disk;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Anything in the format of the MNIST family, whose own number of images estimates take.
pub const DATASET: DatasetInfo = DatasetInfo {
    name: "idx",
    title: OWN_IMAGES,
    about: "anything in the IDX format of the MNIST family: data.dir holds the four files",
    citation: None,
    train: Count::About(60_000),
    test: Count::About(10_000),
    classes: None,
    hub: None,
    of_files: false,
    open: |config| dataset(config.dir.as_deref())?.checked(config),
};

/// What a file of images begins with.
pub const IMAGES_MAGIC: u32 = 0x0803;
/// What a file of labels begins with.
pub const LABELS_MAGIC: u32 = 0x0801;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes behind the last image that are counted.
const MOST_TRAILING: u64 = 1 << 20;
/// Stems of the file names, training and test.
const SPLITS: [&str; 2] = ["train", "t10k"];

/// The file of that name in `dir`, or its gzipped twin.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    [dir.join(name), dir.join(format!("{name}.gz"))].into_iter().find(|path| path.is_file())
}

/// Any dataset of this format, its classes named by their numbers.
///
/// # Errors
/// When `dir` is missing, or its files are, or one is malformed.
fn dataset(dir: Option<&Path>) -> Result<InMemory> {
    let files = "train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz] and the same of t10k";
    let dir = dir.with_context(|| format!("data.dataset = \"idx\" needs data.dir: a folder with {files}"))?;
    let [train, test] = load(dir)?.with_context(|| format!("data.dir = {}: expected {files} there", dir.display()))?;
    let classes = train.labels.iter().chain(&test.labels).max().map_or(0, |most| most + 1);
    Ok(InMemory { name: "idx".into(), classes: (0..classes).map(|c| c.to_string()).collect(), train, test })
}

/// Training and test images of a folder; `None` where it holds none of the files.
///
/// # Errors
/// When some of the files are missing, or one is malformed; the message names it.
pub fn load(dir: &Path) -> Result<Option<[Images; 2]>> {
    let names = SPLITS.map(|split| [format!("{split}-images-idx3-ubyte"), format!("{split}-labels-idx1-ubyte")]);
    if names.iter().flatten().all(|name| find(dir, name).is_none()) {
        return Ok(None);
    }
    let split = |[images, labels]: &[String; 2]| {
        let path = |name: &str| {
            find(dir, name).with_context(|| format!("{} holds neither {name} nor {name}.gz", dir.display()))
        };
        read_split(&path(images)?, &path(labels)?)
    };
    Ok(Some([split(&names[0])?, split(&names[1])?]))
}

fn read_split(images_path: &Path, labels_path: &Path) -> Result<Images> {
    let (shape, data) = read(images_path, IMAGES_MAGIC)?;
    let (labels_shape, labels) = read(labels_path, LABELS_MAGIC)?;
    ensure!(
        shape[0] == labels_shape[0],
        "{} holds {} images, but {} holds {} labels",
        images_path.display(),
        shape[0],
        labels_path.display(),
        labels_shape[0]
    );
    ensure!(shape[1] > 0 && shape[2] > 0, "{}: its images have no pixels, shape {shape:?}", images_path.display());
    let labels = labels.into_iter().map(u32::from).collect();
    Ok(Images { height: shape[1], width: shape[2], channels: 1, data, labels })
}

/// The shape and the bytes of the file at `path`, gzipped or not.
fn read(path: &Path, magic: u32) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut file = BufReader::new(disk::open(path)?);
    let begin = file.fill_buf().with_context(|| format!("cannot read {}", path.display()))?;
    match begin.starts_with(&GZIP) {
        true => parse_from(&mut MultiGzDecoder::new(file), magic).map_err(|error| match error.is::<std::io::Error>() {
            true => error.context("it is not a whole gzip file: fetch it again"),
            false => error,
        }),
        false => parse_from(&mut file, magic),
    }
    .with_context(|| format!("in {}", path.display()))
}

/// The shape and the bytes of an IDX file, whose magic number says how many dimensions it has.
///
/// # Errors
/// When the magic number is another one, or there are not as many bytes as the shape says.
pub fn parse(mut bytes: &[u8], magic: u32) -> Result<(Vec<usize>, Vec<u8>)> {
    parse_from(&mut bytes, magic)
}

/// The same of what is read piece by piece: not much more is kept than the shape says, however much there is.
fn parse_from(file: &mut impl Read, magic: u32) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut word = || -> Result<u32> {
        let mut word = Vec::new();
        file.by_ref().take(4).read_to_end(&mut word)?;
        Ok(u32::from_be_bytes(*word.first_chunk().context("the file ends within its header")?))
    };
    let found = word()?;
    ensure!(found == magic, "the magic number is {found:#010x}, expected {magic:#010x}");
    let shape = (0..magic & 0xff).map(|_| Ok(word()? as usize)).collect::<Result<Vec<_>>>()?;
    let expected = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).context("its shape is too large")?;
    let mut data = Vec::new();
    // Without memory for them an answer, not an end; memory that is not written to costs nothing.
    data.try_reserve_exact(expected)
        .with_context(|| format!("no memory for the {expected} bytes of shape {shape:?}"))?;
    file.by_ref().take(expected as u64).read_to_end(&mut data)?;
    ensure!(data.len() == expected, "truncated: shape {shape:?} needs {expected} bytes, there are {}", data.len());
    let trailing = std::io::copy(&mut file.by_ref().take(MOST_TRAILING), &mut std::io::sink())?;
    ensure!(trailing == 0, "{trailing} bytes or more trail the {expected} of shape {shape:?}");
    Ok((shape, data))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    fn file(magic: u32, shape: &[u32], data: &[u8]) -> Vec<u8> {
        let header = [magic].into_iter().chain(shape.iter().copied()).flat_map(u32::to_be_bytes);
        header.chain(data.iter().copied()).collect()
    }

    /// Two training images of 2x3 pixels, one test image; `change` may spoil them.
    fn folder(change: impl Fn(&Path)) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        write("train-images-idx3-ubyte", &file(IMAGES_MAGIC, &[2, 2, 3], &(0..12).collect::<Vec<u8>>()));
        write("train-labels-idx1-ubyte", &file(LABELS_MAGIC, &[2], &[7, 1]));
        write("t10k-images-idx3-ubyte", &file(IMAGES_MAGIC, &[1, 2, 3], &[9; 6]));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&file(LABELS_MAGIC, &[1], &[3])).unwrap();
        write("t10k-labels-idx1-ubyte.gz", &gzip.finish().unwrap());
        change(dir.path());
        dir
    }

    fn failure(change: impl Fn(&Path)) -> String {
        format!("{:#}", load(folder(change).path()).unwrap_err())
    }

    #[test]
    fn reads_plain_and_gzipped_files() {
        let [train, test] = load(folder(|_| ()).path()).unwrap().unwrap();
        assert_eq!((train.height, train.width, train.channels), (2, 3, 1));
        assert_eq!((train.data, train.labels), ((0..12).collect(), vec![7, 1]));
        assert_eq!((test.data, test.labels), (vec![9; 6], vec![3]));
        assert!(load(tempfile::tempdir().unwrap().path()).unwrap().is_none());
        let data = dataset(Some(folder(|_| ()).path())).unwrap();
        assert_eq!((data.classes.len(), data.classes[7].as_str()), (8, "7"));
        assert!(dataset(None).unwrap_err().to_string().contains("needs data.dir"));
    }

    #[test]
    fn malformed_files_are_named() {
        let name = "train-images-idx3-ubyte";
        let put = |bytes: Vec<u8>| move |dir: &Path| std::fs::write(dir.join(name), &bytes).unwrap();
        for (bytes, message) in [
            (file(LABELS_MAGIC, &[2, 2, 3], &[0; 12]), "magic number is 0x00000801, expected 0x00000803"),
            (file(IMAGES_MAGIC, &[2, 2, 3], &[0; 11]), "truncated"),
            (file(IMAGES_MAGIC, &[2, 2, 3], &[0; 14]), "2 bytes or more trail"),
            (file(IMAGES_MAGIC, &[2], &[]), "ends within its header"),
            (file(IMAGES_MAGIC, &[u32::MAX; 3], &[]), "shape is too large"),
            (file(IMAGES_MAGIC, &[3, 2, 3], &[0; 18]), "3 images"),
            (vec![], "ends within its header"),
        ] {
            let got = failure(put(bytes));
            assert!(got.contains(message) && got.contains(name), "{got}");
        }
        let got = failure(|dir| std::fs::remove_file(dir.join("train-labels-idx1-ubyte")).unwrap());
        assert!(got.contains("neither train-labels-idx1-ubyte nor"), "{got}");
        let got = failure(|dir| {
            let path = dir.join("t10k-labels-idx1-ubyte.gz");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        });
        assert!(got.contains("t10k-labels-idx1-ubyte.gz: it is not a whole gzip file"), "{got}");
    }
}
