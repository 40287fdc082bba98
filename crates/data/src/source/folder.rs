//! Folders of pictures: one folder a class, or one flat folder without labels.

use super::dataset::{Count, Dataset, DatasetInfo, OWN_IMAGES};
use super::files::{Classes, Files, Store, number_classes};
use super::{locate, splits};
use crate::name::{PICTURES, is_picture, stable_name};
use crate::set::Pictures;
use anyhow::{Context, Result, bail, ensure};
use simclr_core::config::{Corrupt, DataConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The user's own pictures; estimates take the size of ImageNet.
pub const DATASET: DatasetInfo = DatasetInfo {
    name: "folder",
    title: OWN_IMAGES,
    about: "pictures in data.dir: one folder a class, or one flat folder without labels",
    citation: None,
    train: Count::OF_FILES_TRAIN,
    test: Count::OF_FILES_TEST,
    classes: None,
    hub: None,
    of_files: true,
    open: load,
};

/// Folders that hold what accuracy is measured on, where `data.test` names none.
const TEST_FOLDERS: [&str; 3] = ["val", "validation", "test"];

/// Folders within classes are searched this deep.
const DEPTH: usize = 8;

struct Folder {
    root: PathBuf,
    /// Relative to the root.
    files: Vec<Box<str>>,
}

impl Store for Folder {
    fn read(&self, index: usize) -> Result<Vec<u8>> {
        std::fs::read(self.root.join(&*self.files[index])).context("cannot read the file")
    }

    fn place(&self, index: usize) -> String {
        self.root.join(&*self.files[index]).display().to_string()
    }
}

/// `train` and `val` (or `validation`, `test`) in `data.dir`; all of it where there is no `train`.
fn load(config: &DataConfig) -> Result<Dataset> {
    let dir = locate::folder(config)?;
    let usual = |name: &str| Some(dir.join(name)).filter(|path| path.is_dir());
    let train = match &config.train {
        Some(name) => Some(named("train", dir, name)?),
        None => usual("train"),
    };
    let test = match (&config.test, &train) {
        (Some(name), _) => Some(named("test", dir, name)?),
        (None, Some(_)) => TEST_FOLDERS.into_iter().find_map(usual),
        (None, None) => None,
    };
    let train = open(train.as_deref().unwrap_or(dir)).context("training images")?;
    let test = test.map(|path| open(&path).context("test images")).transpose()?;
    splits::of_files(train, test, config)
}

fn named(key: &str, dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    ensure!(path.is_dir(), "data.{key} = \"{name}\": {} is no folder", path.display());
    Ok(path)
}

/// The pictures below `dir` for a program without an experiment, sorted by path, as `channels` channels; `corrupt` says
/// what becomes of damaged ones. One folder a class or one flat folder, as the dataset `folder` has them.
///
/// # Errors
/// When the folder cannot be read or holds no picture.
pub fn pictures(dir: &Path, channels: usize, corrupt: Corrupt) -> Result<Pictures> {
    let config = DataConfig { corrupt, ..DataConfig::new("folder", 1) };
    Ok(Pictures::new(Arc::new(open(dir)?), channels, &config))
}

/// The pictures below `root`, sorted by path. Where folders hold them, the first one on the way is the class; where they
/// lie in `root` itself there are no labels. Links are followed; names that start with a dot are passed over.
///
/// # Errors
/// When the folder cannot be read, holds no picture, or pictures lie both in it and in folders below.
pub(crate) fn open(root: &Path) -> Result<Files> {
    ensure!(root.is_dir(), "{} is no folder", root.display());
    let mut files = Vec::new();
    collect(root, "", 0, &mut files)?;
    files.sort_unstable();
    let flat = files.iter().filter(|file| !file.contains('/')).count();
    if files.is_empty() {
        bail!("{} holds no picture: expected files that end in {}", root.display(), PICTURES.join(", "))
    }
    ensure!(
        flat == 0 || flat == files.len(),
        "{} holds {flat} pictures of its own and {} in folders: one folder a class, or one flat folder without labels",
        root.display(),
        files.len() - flat
    );
    let names = files.iter().map(|file| stable_name(file).into()).collect();
    let (labels, classes) = if flat > 0 {
        (vec![None; files.len()], Classes::Numbers)
    } else {
        let of = |file: &str| file.split_once('/').map(|(class, _)| class.to_string());
        number_classes(&files.iter().map(|file| of(file)).collect::<Vec<_>>())
    };
    Ok(Files { store: Box::new(Folder { root: root.into(), files }), names: Some(names), labels, classes })
}

fn collect(dir: &Path, prefix: &str, depth: usize, files: &mut Vec<Box<str>>) -> Result<()> {
    ensure!(depth <= DEPTH, "{} lies too deep: is a link its own folder?", dir.display());
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read the folder {}", dir.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read the folder {}", dir.display()))?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { bail!("{} has a name that is not UTF-8", entry.path().display()) };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type().with_context(|| format!("cannot look at {}", entry.path().display()))?;
        let path = format!("{prefix}{name}");
        // A link is what it leads to; one that leads nowhere is a picture that cannot be read.
        if kind.is_dir() || (kind.is_symlink() && entry.path().is_dir()) {
            collect(&entry.path(), &format!("{path}/"), depth + 1, files)?;
        } else if is_picture(name) {
            files.push(path.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::access::{Source, Stored};

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        dir
    }

    #[test]
    fn folders_are_classes() {
        let dir = tree(&["dog/b.JPEG", "dog/deep/a.png", "cat/1.webp", "cat/notes.txt", ".git/x.png", "read.me"]);
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        let files = open(dir.path()).unwrap();
        assert_eq!(files.classes, Classes::Found(vec!["cat".into(), "dog".into()]));
        assert_eq!(files.labels, [Some(0), Some(1), Some(1)]);
        assert_eq!((0..3).map(|i| files.name(i).unwrap()).collect::<Vec<_>>(), ["1", "b", "a"]);
        let Stored::File(bytes) = Source::read(&files, 2).unwrap() else { panic!("a file") };
        assert_eq!(bytes, b"dog/deep/a.png");
        assert!(Source::place(&files, 1).ends_with("dog/b.JPEG") && files.shards().is_empty());
    }

    #[test]
    fn a_flat_folder_has_no_labels() {
        let dir = tree(&["b.jpg", "a.jpg"]);
        let files = open(dir.path()).unwrap();
        assert_eq!((files.labels.as_slice(), files.name(0)), (&[None, None][..], Some("a")));
        assert_eq!(files.key(0), open(tree(&["x/a.png"]).path()).unwrap().key(0), "a view depends on the stem alone");
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        let message = |dir: &Path| format!("{:#}", open(dir).err().unwrap());
        assert!(message(tree(&["a.txt"]).path()).contains("holds no picture: expected files that end in jpg"));
        assert!(message(Path::new("no/such")).contains("no/such is no folder"));
        assert!(message(tree(&["a.jpg", "x/b.jpg"]).path()).contains("1 pictures of its own and 1 in folders"));
        #[cfg(unix)]
        {
            let dir = tree(&["x/a.jpg"]);
            std::os::unix::fs::symlink(dir.path(), dir.path().join("x/loop")).unwrap();
            assert!(message(dir.path()).contains("too deep"));
            let dir = tree(&["x/a.jpg"]);
            std::os::unix::fs::symlink("/nowhere", dir.path().join("x/b.jpg")).unwrap();
            let files = open(dir.path()).unwrap();
            assert!(Source::read(&files, 1).unwrap_err().to_string().contains("cannot read"));
        }
    }
}
