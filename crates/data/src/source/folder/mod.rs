//! Folders of pictures: one folder a class, or one flat folder without labels, with unlabeled pictures beside.

mod layout;

use super::classes::number_classes;
use super::dataset::{Count, Dataset, DatasetInfo, OWN_IMAGES};
use super::files::{Files, Store};
use super::found::{Found, Place};
use super::walk::walk;
use super::{locate, splits, table};
use crate::name::stable_name;
use crate::set::Pictures;
use anyhow::{Context, Result, ensure};
use layout::{Layout, Nested, Spot, below};
use simclr_core::config::{Corrupt, DataConfig};
use simclr_core::{bounds, disk};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The user's own pictures; estimates take the size of ImageNet.
pub const DATASET: DatasetInfo = DatasetInfo {
    name: "folder",
    title: OWN_IMAGES,
    about: "pictures in data.dir: one folder a class, or one flat folder; more labels by data.labels, more pictures by data.unlabeled",
    citation: None,
    train: Count::OF_FILES_TRAIN,
    test: Count::OF_FILES_TEST,
    classes: None,
    hub: None,
    of_files: true,
    open: load,
};

/// Files below some roots.
struct Folder {
    /// Roots, each with the number of its first file.
    roots: Vec<(usize, PathBuf)>,
    /// Relative to their root.
    files: Vec<Box<str>>,
}

impl Folder {
    fn at(&self, index: usize) -> PathBuf {
        let root = self.roots.iter().rev().find(|(from, _)| *from <= index);
        root.map(|(_, root)| root.as_path()).unwrap_or(Path::new("")).join(&*self.files[index])
    }
}

impl Store for Folder {
    fn read(&self, index: usize) -> Result<Vec<u8>> {
        disk::read_small(&self.at(index), bounds::PICTURE)
    }

    fn place(&self, index: usize) -> String {
        self.at(index).display().to_string()
    }

    fn path(&self, index: usize) -> Option<&str> {
        Some(&self.files[index])
    }

    fn file_size(&self, index: usize) -> Option<u64> {
        std::fs::metadata(self.at(index)).ok().map(|about| about.len())
    }
}

/// A folder with the pictures in it.
struct Tree {
    spot: Spot,
    pictures: Vec<Box<str>>,
}

impl Tree {
    /// The pictures below a folder, but for those in `others`. Adds what is passed over to `found`.
    fn open<'a>(spot: Spot, others: impl Iterator<Item = &'a Path>, found: &mut Found) -> Result<Self> {
        let mut walked = walk(&spot.path)?;
        for inner in others.filter_map(|other| below(&spot.path, other)) {
            walked.pictures.retain(|file| !is_within(file, &inner));
        }
        walked.expect_pictures(&spot.path)?;
        found.passed_over.add(&walked.passed_over);
        Ok(Self { spot, pictures: walked.pictures })
    }

    fn place(&self, split: &'static str) -> Place {
        place(split, &self.spot.path, self.pictures.len(), &self.spot.why)
    }
}

fn place(split: &'static str, at: &Path, pictures: usize, why: &str) -> Place {
    Place { split, at: at.display().to_string(), pictures, why: why.into() }
}

/// Whether a file lies in a folder, both with paths below the same root.
fn is_within(file: &str, folder: &str) -> bool {
    folder.is_empty() || file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn load(config: &DataConfig) -> Result<Dataset> {
    let dir = locate::folder(config)?;
    let Layout { train, has_train, test, unlabeled, notes } = layout::find(dir, config)?;
    let mut found = Found { notes, ..Found::default() };
    let (train_path, test_path) = (train.path.clone(), test.as_ref().map(|test| test.path.clone()));
    let mut train = Tree::open(train, test_path.iter().map(PathBuf::as_path), &mut found).context("training images")?;
    let none = std::iter::empty();
    let mut test = test.map(|spot| Tree::open(spot, none, &mut found)).transpose().context("test images")?;
    let (mut inner, mut outer, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for spot in unlabeled {
        match below(&train_path, &spot.path) {
            Some(folder) => {
                let count = train.pictures.iter().filter(|file| is_within(file, &folder)).count();
                ensure!(
                    count > 0 || config.unlabeled.is_none(),
                    "data.unlabeled: {} holds no picture",
                    spot.path.display()
                );
                places.push(place("unlabeled", &spot.path, count, &spot.why));
                inner.push(folder);
            }
            None => {
                let others = [Some(&train_path), test_path.as_ref()].into_iter().flatten().map(PathBuf::as_path);
                let tree = Tree::open(spot, others, &mut found).context("data.unlabeled")?;
                places.push(tree.place("unlabeled"));
                outer.push(tree);
            }
        }
    }
    if test.is_none() && !has_train {
        test = nested(&mut train, &inner, &mut found)?;
    }
    found.places.push(train.place("train"));
    found.places.extend(test.as_ref().map(|test| test.place("test")));
    found.places.append(&mut places);
    let by_folder = config.labels.is_none();
    let loose = train.pictures.iter().filter(|file| !file.contains('/')).count();
    if by_folder && (1..train.pictures.len()).contains(&loose) {
        found.places.push(place("unlabeled", &train_path, loose, "files beside the folders of the classes"));
    }
    if let Some(file) = config.labels.as_ref().map(|file| table::path(file, config))
        && below(&train_path, &file).is_some()
    {
        found.passed_over.forgive(&file.to_string_lossy());
    }
    let test = test.map(|test| files(dir, test, Vec::new(), Some(&[])));
    splits::of_files(files(dir, train, outer, by_folder.then_some(&inner)), test, found, config)
}

/// The splits of a folder of classes that hold folders of splits in their turn, where it is one: what is left of `train` and the
/// test split. Pictures in `unlabeled` stay.
fn nested(train: &mut Tree, unlabeled: &[String], found: &mut Found) -> Result<Option<Tree>> {
    let root = train.spot.path.clone();
    let is_bare = |file: &str| unlabeled.iter().any(|folder| is_within(file, folder));
    let classed = train.pictures.iter().filter(|file| !is_bare(file));
    let Some(Nested { train: own, test, left }) = layout::nested(&root, classed)? else { return Ok(None) };
    train.pictures.retain(|file| is_bare(file));
    train.pictures.extend(own);
    train.pictures.sort_unstable();
    train.spot.why = "a usual name in the folder of each class".into();
    if left > 0 {
        found.notes.push(format!("not used: {left} pictures of another test split in the folders of the classes"));
    }
    Ok(Some(Tree { spot: Spot { path: root, why: train.spot.why.clone() }, pictures: test }))
}

/// The samples of some trees. Labels by folder, where they are wanted: the first folder on the way to a file in the first tree is
/// its class, unless the file lies in one of the folders of unlabeled pictures.
fn files(dir: &Path, own: Tree, others: Vec<Tree>, unlabeled: Option<&[String]>) -> Files {
    let class = |file: &'_ str| -> Option<String> {
        let bare = unlabeled?.iter().any(|folder| is_within(file, folder));
        file.split_once('/').filter(|_| !bare).map(|(class, _)| class.to_string())
    };
    let (mut labels, classes) = number_classes(&own.pictures.iter().map(|file| class(file)).collect::<Vec<_>>());
    let (base, count) = (below(dir, &own.spot.path).unwrap_or_default(), own.pictures.len());
    let mut folder = Folder { roots: vec![(0, own.spot.path)], files: own.pictures };
    for Tree { spot, pictures } in others {
        // The name of the folder is part of the paths, so that two folders of `1.png` can be told apart.
        let (root, name) = match (spot.path.parent(), spot.path.file_name().and_then(|name| name.to_str())) {
            (Some(parent), Some(name)) => (parent.to_path_buf(), format!("{name}/")),
            _ => (spot.path, String::new()),
        };
        folder.roots.push((folder.files.len(), root));
        folder.files.extend(pictures.iter().map(|file| format!("{name}{file}").into_boxed_str()));
    }
    labels.resize(folder.files.len(), None);
    let names = folder.files.iter().map(|file| stable_name(file).into()).collect();
    Files { base, own: count, ..Files::new(Box::new(folder), Some(names), (labels, classes)) }
}

/// The pictures below `dir` for a program without an experiment, sorted by path, as `channels` channels; `corrupt` says
/// what becomes of damaged ones.
///
/// # Errors
/// When the folder cannot be read or holds no picture.
pub fn pictures(dir: &Path, channels: usize, corrupt: Corrupt) -> Result<Pictures> {
    let config = DataConfig { corrupt, ..DataConfig::new("folder", 1) };
    let spot = Spot { path: dir.into(), why: String::new() };
    let tree = Tree::open(spot, std::iter::empty(), &mut Found::default())?;
    Ok(Pictures::new(Arc::new(files(dir, tree, Vec::new(), Some(&[]))), channels, &config))
}

#[cfg(test)]
mod tests;
