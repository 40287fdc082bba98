//! WebDataset: tar shards of pictures with their labels beside them.
//!
//! Members of one sample share their path up to the first dot of the file name: `a/b.jpg`, `a/b.cls`. Headers are read
//! when a shard is opened, pictures where they stand when they are asked for. Nothing is ever unpacked, so names mean
//! nothing to the file system: absolute ones and `..` do no harm, and links and devices are passed over.

use super::classes::{Classes, Given, number_classes, resolve};
use super::dataset::{Count, Dataset, DatasetInfo, OWN_IMAGES};
use super::files::{Files, Store};
use super::read_at::read_at;
use super::{locate, splits};
use crate::name::{is_picture, is_wordnet, stable_name};
use anyhow::{Context, Result, ensure};
use lru::LruCache;
use rayon::prelude::*;
use simclr_core::bounds::PICTURE;
use simclr_core::config::DataConfig;
use simclr_core::disk;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tar::Archive;

/// WebDataset shards; estimates take the size of ImageNet.
pub const DATASET: DatasetInfo = DatasetInfo {
    name: "tar",
    title: OWN_IMAGES,
    about: "WebDataset shards, tar files of pictures with their labels beside them: data.dir",
    citation: None,
    train: Count::OF_FILES_TRAIN,
    test: Count::OF_FILES_TEST,
    classes: None,
    hub: None,
    of_files: true,
    open: load,
};

/// Files that are open at a time.
const OPEN: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);
/// Longest member with a label in it.
const MOST_LABEL: u64 = 1 << 20;

fn load(config: &DataConfig) -> Result<Dataset> {
    let dir = locate::folder(config)?;
    let open = |names: &[String]| open(names.iter().map(|name| dir.join(name)).collect());
    splits::of_shards(&locate::list(dir, "tar")?, config, &open)
}

/// Where the bytes of a member stand.
#[derive(Clone, Copy)]
struct Place {
    shard: u32,
    bytes: u32,
    offset: u64,
}

struct Shards {
    paths: Vec<PathBuf>,
    /// First sample of each shard, and the end of the last.
    starts: Vec<u32>,
    places: Vec<Place>,
    names: Arc<[Box<str>]>,
    open: Mutex<LruCache<u32, Arc<File>>>,
}

impl Shards {
    fn file(&self, shard: u32) -> Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let file = open.try_get_or_insert(shard, || {
            let path = &self.paths[shard as usize];
            disk::open(path).map(Arc::new)
        })?;
        Ok(file.clone())
    }
}

impl Store for Shards {
    fn read(&self, index: usize) -> Result<Vec<u8>> {
        let Place { shard, bytes, offset } = self.places[index];
        let mut picture = vec![0; bytes as usize];
        read_at(&*self.file(shard)?, &mut picture, offset).context("the shard breaks off within the picture")?;
        Ok(picture)
    }

    fn place(&self, index: usize) -> String {
        format!("{} in {}", self.names[index], self.paths[self.places[index].shard as usize].display())
    }

    fn path(&self, index: usize) -> Option<&str> {
        Some(&self.names[index])
    }

    fn file_size(&self, index: usize) -> Option<u64> {
        Some(self.places[index].bytes.into())
    }

    fn shards(&self) -> Vec<Range<u32>> {
        self.starts.windows(2).map(|edges| edges[0]..edges[1]).collect()
    }
}

/// A sample while its shard is read.
#[derive(Default)]
struct Sample {
    picture: Option<(String, u64, u32)>,
    /// What its `.cls` says, where it has one.
    cls: Option<Option<Given>>,
    json: Option<Given>,
}

/// Opens shards, in this order. The label is a sample's `.cls`, else `label` of its `.json`, numbers or words; where no sample has one, the
/// class is the folder that its path names, or the ImageNet class that its name starts with.
///
/// # Errors
/// When a shard cannot be read, is no whole tar file, or a label is no number; the message names shard and member.
pub(crate) fn open(paths: Vec<PathBuf>) -> Result<Files> {
    let index = |path: &PathBuf| index(path).with_context(|| format!("in {}", path.display()));
    let first = paths.first().cloned().unwrap_or_default();
    let shards = paths.par_iter().map(index).collect::<Result<Vec<_>>>()?;
    let (mut starts, mut places, mut members, mut labels) = (vec![0], Vec::new(), Vec::new(), Vec::new());
    let mut stated = false;
    for (shard, samples) in shards.into_iter().enumerate() {
        for sample in samples {
            if let Some((path, offset, bytes)) = sample.picture {
                places.push(Place { shard: shard as u32, bytes, offset });
                members.push(path.into_boxed_str());
                stated |= sample.cls.is_some() || sample.json.is_some();
                labels.push(sample.cls.flatten().or(sample.json));
            }
        }
        starts.push(u32::try_from(places.len()).context("more samples than 32 bits count")?);
    }
    ensure!(
        !places.is_empty(),
        "the tar files hold no picture: expected members that end in jpg, jpeg, png or webp in {}{}",
        first.display(),
        if starts.len() > 2 { " and the others" } else { "" }
    );
    let names: Vec<Box<str>> = members.iter().map(|path| stable_name(path).into()).collect();
    let labels = match stated {
        true => resolve(labels),
        false => classes_of_names(&members, &names),
    };
    let names_of_members: Arc<[Box<str>]> = members.into();
    let store = Shards { paths, starts, places, names: names_of_members, open: Mutex::new(LruCache::new(OPEN)) };
    Ok(Files::new(Box::new(store), Some(names), labels))
}

/// Classes from ImageNet's names (`n01440764_10026`), or else from folders, where there is more than one.
fn classes_of_names(members: &[Box<str>], names: &[Box<str>]) -> (Vec<Option<u32>>, Classes) {
    let wordnet = |name: &str| name.split_once('_').map(|(class, _)| class).filter(|c| is_wordnet(c)).map(String::from);
    let folder = |path: &str| {
        let class = path.rsplit('/').nth(1).filter(|class| !["", ".", ".."].contains(class));
        class.map(String::from)
    };
    let by_name: Vec<Option<String>> = names.iter().map(|name| wordnet(name)).collect();
    if by_name.iter().all(Option::is_some) {
        return number_classes(&by_name);
    }
    let by_folder: Vec<Option<String>> = members.iter().map(|path| folder(path)).collect();
    if by_folder.iter().flatten().collect::<BTreeSet<_>>().len() > 1 {
        return number_classes(&by_folder);
    }
    (vec![None; members.len()], Classes::Numbers)
}

/// The samples of one shard, in the order of their first members.
fn index(path: &Path) -> Result<Vec<Sample>> {
    let file = disk::open(path)?;
    let length = file.metadata().context("cannot look at it")?.len();
    ensure!(length > 0, "the file is empty");
    let mut archive = Archive::new(file);
    let (mut samples, mut known): (Vec<Sample>, HashMap<String, usize>) = (Vec::new(), HashMap::new());
    let mut strangers = 0usize;
    for entry in archive.entries_with_seek().context("no tar file")? {
        let mut entry = entry.context("no whole tar file")?;
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !(kind.is_file() || kind.is_contiguous()) {
            strangers += 1;
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (offset, size) = (entry.raw_file_position(), entry.size());
        ensure!(
            offset.checked_add(size).is_some_and(|end| end <= length),
            "{name} claims {size} bytes, but the file ends before: fetch it again"
        );
        let Some((key, ending)) = split_name(&name) else { continue };
        let at = *known.entry(key.into()).or_insert_with(|| {
            samples.push(Sample::default());
            samples.len() - 1
        });
        let sample = &mut samples[at];
        if is_picture(&name) {
            ensure!(size <= PICTURE, "{name} claims {size} bytes; a picture may have {PICTURE}");
            sample.picture.get_or_insert((name, offset, size as u32));
        } else if ending == "cls" || ending == "json" {
            ensure!(size <= MOST_LABEL, "{name} claims {size} bytes; a label may have {MOST_LABEL}");
            let mut text = String::new();
            entry.read_to_string(&mut text).with_context(|| name.clone())?;
            if ending == "cls" {
                sample.cls = Some(Given::of_text(&text).with_context(|| name)?);
            } else {
                sample.json = label_of_json(&text).with_context(|| name)?;
            }
        }
    }
    if strangers > 0 {
        tracing::warn!("{}: {strangers} links or special files, which are not followed", path.display());
    }
    Ok(samples)
}

/// A member's path up to the first dot of the file name, and its last ending. Hidden files are no samples.
fn split_name(name: &str) -> Option<(&str, &str)> {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = file + name[file..].find('.')?;
    (dot > file).then(|| (&name[..dot], name.rsplit('.').next().unwrap_or_default()))
}

/// The number that a `.cls` member holds; `None` where it is a word, empty or negative.
///
/// # Errors
/// When the number is so large that it can be no class.
pub fn parse_cls(text: &str) -> Result<Option<u32>> {
    Ok(number(Given::of_text(text)?))
}

/// The number that a `.json` member holds as `label`; `None` without one, or where it is a word or negative, as unlabeled
/// samples have it.
///
/// # Errors
/// When it is no JSON, or the number can be no class.
pub fn parse_json(text: &str) -> Result<Option<u32>> {
    Ok(number(label_of_json(text)?))
}

fn number(label: Option<Given>) -> Option<u32> {
    match label? {
        Given::Number(number) => Some(number),
        Given::Word(_) => None,
    }
}

/// The label of a `.json` member, a number or a word.
fn label_of_json(text: &str) -> Result<Option<Given>> {
    let json: serde_json::Value = serde_json::from_str(text).context("not valid JSON")?;
    match &json["label"] {
        serde_json::Value::Number(number) => {
            let whole = number.as_i64().or(number.as_u64().map(|_| i64::MAX));
            Given::of_number(
                whole.with_context(|| format!("label {number} is no class: expected a whole number or a word"))?,
            )
        }
        serde_json::Value::String(word) => Given::of_text(word),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
