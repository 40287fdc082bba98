//! Which folders of a dataset's folder make which split: those that the configuration names, and those with usual names.

use crate::name::{is_picture, natural};
use crate::source::found::some;
use crate::source::split_names::{Kind, TEST, TRAIN, kind};
use crate::source::walk::walk;
use anyhow::{Context, Result, bail, ensure};
use simclr_core::config::DataConfig;
use std::path::{Path, PathBuf};

/// What chose a folder that nobody named.
const USUAL: &str = "a usual name";

/// A folder, and what chose it.
pub(super) struct Spot {
    pub path: PathBuf,
    pub why: String,
}

/// The folders of the splits.
pub(super) struct Layout {
    pub train: Spot,
    /// Whether a training folder was named or found; else the dataset's folder is it.
    pub has_train: bool,
    pub test: Option<Spot>,
    /// Folders of more training pictures, which have no label; they may lie in the training folder.
    pub unlabeled: Vec<Spot>,
    /// What there is to know besides.
    pub notes: Vec<String>,
}

/// What lies in a folder itself.
struct Inside {
    /// Names of folders, in natural order.
    folders: Vec<String>,
    pictures: usize,
}

/// Finds the folders of the splits in `dir`.
///
/// # Errors
/// When a named one is not there, or what is there can be understood in two ways; the message has the key.
pub(super) fn find(dir: &Path, config: &DataConfig) -> Result<Layout> {
    ensure!(dir.is_dir(), "{} is no folder", dir.display());
    let inside = look(dir)?;
    let train = match &config.train {
        Some(name) => Some(named("train", dir, name)?),
        None => usual(dir, &inside.folders, "train", |kind| kind == Kind::Train, TRAIN)?,
    };
    let has_train = train.is_some();
    let train = train.unwrap_or_else(|| Spot { path: dir.into(), why: "data.dir".into() });
    let is_dir = below(dir, &train.path).is_some_and(|path| path.is_empty());
    let test = match &config.test {
        Some(name) => Some(named("test", dir, name)?),
        None if is_dir => None,
        None => {
            let of =
                |rank: usize| usual(dir, &inside.folders, "test", move |kind| kind == Kind::Test(rank), TEST[rank]);
            of(0).transpose().or_else(|| of(1).transpose()).transpose()?
        }
    };
    // Pictures for tests that are named as unlabeled ones are learned from.
    let named =
        |path: &Path| config.unlabeled.as_ref().is_some_and(|name| below(path, &dir.join(name)) == Some("".into()));
    let test = test.filter(|test| config.test.is_some() || !(test.path == train.path || named(&test.path)));
    if let Some(test) = &test {
        let same = below(&train.path, &test.path).is_some_and(|path| path.is_empty());
        ensure!(!same, "training and test images are both {}: name another folder by data.test", test.path.display());
    }
    let is = |folder: &str, spot: &Spot| below(&dir.join(folder), &spot.path).is_some_and(|path| path.is_empty());
    if !has_train {
        let looks = |name: &&String| {
            let test = test.as_ref().is_some_and(|test| is(name, test));
            matches!(kind(name), Some(Kind::Test(_))) && !test && !named(&dir.join(name))
        };
        if let Some(name) = inside.folders.iter().find(looks) {
            bail!(
                "{} holds \"{name}\", which looks like test pictures, and no folder for training: name the folders by data.train \
                 and data.test; data.train = \".\" takes all folders as classes",
                dir.display()
            )
        }
    }
    let unlabeled = unlabeled(dir, &inside, &train, config)?;
    let mut layout = Layout { train, has_train, test, unlabeled, notes: Vec::new() };
    if !is_dir {
        let used = |name: &str| {
            let spots = [Some(&layout.train), layout.test.as_ref()].into_iter().flatten().chain(&layout.unlabeled);
            spots.into_iter().any(|spot| below(&dir.join(name), &spot.path).is_some())
        };
        let left: Vec<&String> = inside.folders.iter().filter(|name| !used(name)).collect();
        layout.notes = left_over(dir, &left, inside.pictures, &layout, config)?;
    }
    Ok(layout)
}

/// A sentence on pictures that no split has.
///
/// # Errors
/// When they look like classes beside one that is called as a split is.
fn left_over(dir: &Path, left: &[&String], loose: usize, layout: &Layout, config: &DataConfig) -> Result<Vec<String>> {
    let (mut notes, mut others) = (Vec::new(), Vec::new());
    for name in left {
        let count = walk(&dir.join(name))?.pictures.len();
        if count > 0 && matches!(kind(name), Some(Kind::Test(_))) {
            let measured = layout.test.as_ref().map_or("nothing".into(), |test| test.path.display().to_string());
            notes.push(format!(
                "{count} pictures in {name} are not used: accuracy is measured on {measured} (data.test)"
            ));
        } else if count > 0 {
            others.push(format!("{name} ({count} pictures)"));
        }
    }
    let by_key = config.train.is_some() || config.test.is_some() || config.labels.is_some();
    if let (Some(_), None, false) = (others.first(), &layout.test, by_key) {
        let name = layout.train.path.file_name().unwrap_or_default().to_string_lossy();
        bail!(
            "{} holds \"{name}\" beside {}: if these are classes, set data.train = \".\"; if \"{name}\" alone is to be learned \
             from, set data.train = \"{name}\"",
            dir.display(),
            some(&others)
        )
    }
    if !others.is_empty() {
        notes.push(format!("not used: {}; data.unlabeled would have such a folder learned from", others.join(", ")));
    }
    if loose > 0 {
        notes.push(format!("not used: {loose} pictures in {} itself, beside its folders", dir.display()));
    }
    Ok(notes)
}

fn look(dir: &Path) -> Result<Inside> {
    let unreadable = || format!("cannot read the folder {}", dir.display());
    let mut inside = Inside { folders: Vec::new(), pictures: 0 };
    for entry in std::fs::read_dir(dir).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type().with_context(unreadable)?;
        let is_dir = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
        if name.starts_with('.') {
            continue;
        } else if is_dir {
            inside.folders.push(name);
        } else {
            inside.pictures += usize::from(is_picture(&name));
        }
    }
    inside.folders.sort_by(|a, b| natural(a, b));
    Ok(inside)
}

fn named(key: &str, dir: &Path, name: &str) -> Result<Spot> {
    let path = dir.join(name);
    ensure!(path.is_dir(), "data.{key} = \"{name}\": {} is no folder", path.display());
    Ok(Spot { path, why: format!("data.{key}") })
}

/// The folder whose name is one of a split: of several the one that is called by the first of `words`.
fn usual(dir: &Path, names: &[String], key: &str, is: impl Fn(Kind) -> bool, words: &[&str]) -> Result<Option<Spot>> {
    let named: Vec<&String> = names.iter().filter(|name| kind(name).is_some_and(&is)).collect();
    let exact = words.iter().find_map(|word| named.iter().find(|name| **name == *word));
    let chosen = match (named.as_slice(), exact) {
        ([], _) => return Ok(None),
        ([one], _) => one,
        (_, Some(exact)) => exact,
        (several, None) => {
            bail!("{} holds several folders that look alike, {}: name one by data.{key}", dir.display(), some(several))
        }
    };
    Ok(Some(Spot { path: dir.join(chosen), why: USUAL.into() }))
}

/// Folders of pictures without labels: the one that is named, or those of usual names in the dataset's and the training folder.
fn unlabeled(dir: &Path, inside: &Inside, train: &Spot, config: &DataConfig) -> Result<Vec<Spot>> {
    if let Some(name) = &config.unlabeled {
        let path = [dir.join(name), name.clone()].into_iter().find(|path| path.is_dir());
        let path = path.with_context(|| format!("data.unlabeled = \"{}\" is no folder", name.display()))?;
        return Ok(vec![Spot { path, why: "data.unlabeled".into() }]);
    }
    let usual = |dir: &Path, names: &[String]| -> Vec<Spot> {
        let named = names.iter().filter(|name| kind(name) == Some(Kind::Unlabeled));
        named.map(|name| Spot { path: dir.join(name), why: USUAL.into() }).collect()
    };
    let mut spots = usual(dir, &inside.folders);
    if train.path != dir {
        spots.extend(usual(&train.path, &look(&train.path)?.folders));
    }
    Ok(spots)
}

/// Where `inner` lies in `outer`, with `/` between the parts: empty where they are the same, `None` where it lies elsewhere.
pub(super) fn below(outer: &Path, inner: &Path) -> Option<String> {
    let (outer, inner) = (outer.canonicalize().ok()?, inner.canonicalize().ok()?);
    let parts: Option<Vec<&str>> = inner.strip_prefix(outer).ok()?.iter().map(|part| part.to_str()).collect();
    Some(parts?.join("/"))
}

/// Pictures of classes that hold folders of splits in their turn: `cat/train/1.png`.
pub(super) struct Nested {
    pub train: Vec<Box<str>>,
    pub test: Vec<Box<str>>,
    /// Pictures of another split for tests, which are not used.
    pub left: usize,
}

/// Parts pictures by the folders in their classes, where these are splits in all of them.
///
/// # Errors
/// When they are in some.
pub(super) fn nested<'a>(dir: &Path, pictures: impl Iterator<Item = &'a Box<str>>) -> Result<Option<Nested>> {
    let pictures: Vec<&Box<str>> = pictures.collect();
    let of = |file: &str| {
        let mut parts = file.split('/');
        let (_, split, file) = (parts.next(), parts.next()?, parts.next());
        file.and(kind(split))
    };
    let is_test = |kind: Option<Kind>| matches!(kind, Some(Kind::Test(_)));
    let any = |is: &dyn Fn(Option<Kind>) -> bool| pictures.iter().find(|file| is(of(file)));
    let (Some(_), Some(test)) = (any(&|kind| kind == Some(Kind::Train)), any(&is_test)) else { return Ok(None) };
    if let Some(other) = any(&|kind| kind != Some(Kind::Train) && !is_test(kind)) {
        bail!(
            "{} has folders of test pictures in some classes, such as {test}, and not in others, such as {other}: sort \
             pictures by split first, and name the folders by data.train and data.test",
            dir.display()
        )
    }
    let rank = pictures.iter().filter_map(|file| of(file)).filter_map(|kind| match kind {
        Kind::Test(rank) => Some(rank),
        _ => None,
    });
    let measured = rank.min().map(Kind::Test);
    let with = |wanted: Option<Kind>| -> Vec<Box<str>> {
        pictures.iter().filter(|file| of(file) == wanted).map(|file| (*file).clone()).collect()
    };
    let (train, test) = (with(Some(Kind::Train)), with(measured));
    let left = pictures.len() - train.len() - test.len();
    Ok(Some(Nested { train, test, left }))
}
