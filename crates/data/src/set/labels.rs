//! Label subsets, kept as lists of indices: balanced over classes, a pure function of (labels, fraction, seed); or the
//! images that a file names.

use super::pictures::Pictures;
use crate::matching::{Matcher, Meant, Place, tidied};
use crate::name::stable_name;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use simclr_core::config::{DataConfig, LabelAmount, LabelList};
use simclr_core::rng::{Purpose, Rng};
use simclr_core::{bounds, disk};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The training images whose label may be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelSubset {
    /// How many labels of each class.
    #[serde(rename = "fraction")]
    pub amount: LabelAmount,
    /// What chose them.
    pub seed: u64,
    /// Their indices, ascending.
    pub indices: Vec<u32>,
    /// The file that named them, where they were not drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<PathBuf>,
}

/// Names that a message lists at most.
const SHOWN: usize = 3;

impl LabelSubset {
    /// The subset of `pictures` for an amount of labels: those of the configuration's list for it, or else drawn by class
    /// among those that have a label. Named images are drawn in the order of their names, so that a subset does not
    /// depend on how they are stored.
    ///
    /// # Errors
    /// When the list names an image that is not there, has no label or may be one of several, or no image has a label.
    pub fn of(
        pictures: &Pictures,
        classes: usize,
        amount: LabelAmount,
        seed: u64,
        config: &DataConfig,
    ) -> Result<Self> {
        if let Some(LabelList { file, .. }) = config.list(amount) {
            let indices = listed(pictures, file).with_context(|| format!("data.lists: {}", file.display()))?;
            return Ok(Self { amount, seed, indices, list: Some(file.clone()) });
        }
        let source = pictures.source();
        let mut labeled: Vec<u32> =
            (0..pictures.len() as u32).filter(|i| source.label(*i as usize).is_some()).collect();
        // A stable sort: without names, samples stay in the order of their numbers.
        labeled.sort_by(|a, b| source.name(*a as usize).cmp(&source.name(*b as usize)));
        let labeled = labeled.into_iter().filter_map(|i| Some((i, source.label(i as usize)?)));
        Self::draw(labeled, classes, amount, seed)
    }

    /// The amount of each class, one image at least. With one seed a smaller subset lies within a larger one.
    ///
    /// # Errors
    /// When there is no such amount, or no image has a label.
    fn draw(labeled: impl Iterator<Item = (u32, u32)>, classes: usize, amount: LabelAmount, seed: u64) -> Result<Self> {
        amount.check("labels =")?;
        let mut by_class = vec![Vec::new(); classes];
        for (sample, label) in labeled {
            by_class[label as usize].push(sample);
        }
        let (mut indices, mut fewer) = (Vec::new(), 0);
        for (class, members) in by_class.iter_mut().enumerate().filter(|(_, members)| !members.is_empty()) {
            fewer += usize::from(amount.misses(members.len()));
            Rng::stream(seed, Purpose::LabelSubset, &[class as u64]).shuffle(members);
            indices.extend_from_slice(&members[..amount.of_class(members.len())]);
        }
        let empty: Vec<usize> = (0..classes).filter(|class| by_class[*class].is_empty()).collect();
        ensure!(!indices.is_empty(), "no training image has a label");
        if fewer > 0 {
            tracing::warn!(
                "{}: {fewer} classes have too few labeled images for that; each gives what comes nearest",
                amount.words()
            );
        }
        if let Some(first) = empty.first() {
            tracing::warn!(
                "{} of {classes} classes have no labeled training image, such as number {first}",
                empty.len()
            );
        }
        indices.sort_unstable();
        Ok(Self { amount, seed, indices, list: None })
    }

    /// Writes the list as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        disk::write(path, serde_json::to_string(self)?.as_bytes())
    }
}

/// The names of a list of images: one file a line, with or without folders and ending; empty lines do not count.
///
/// # Errors
/// When it is no text in UTF-8, or a line names no file.
pub fn parse_list(bytes: &[u8]) -> Result<Vec<&str>> {
    let text = std::str::from_utf8(bytes).context("not a text file in UTF-8")?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<&str> = lines.collect();
    if let Some(at) = names.iter().position(|name| stable_name(name).is_empty()) {
        bail!("line {} that is not empty names no file", at + 1)
    }
    if names.is_empty() {
        bail!("it names no image: expected a file name a line, such as n01440764_10026.JPEG")
    }
    Ok(names)
}

/// Indices of the images that a list names, ascending.
fn listed(pictures: &Pictures, file: &Path) -> Result<Vec<u32>> {
    let bytes = disk::read_small(file, bounds::TABLE)?;
    let wanted: BTreeSet<String> = parse_list(&bytes)?.into_iter().map(tidied).collect();
    let source = pictures.source();
    let nameless = || "the dataset's images have no names that a list could hold";
    source.path(0).or(source.name(0)).with_context(nameless)?;
    let places = [Place { source, base: "", range: 0..pictures.len() }];
    let matcher = Matcher::new(&places, wanted.iter().map(String::as_str));
    let (mut indices, mut missing) = (BTreeSet::new(), Vec::new());
    for name in &wanted {
        match matcher.find(name) {
            Meant::One((_, index)) => {
                ensure!(source.label(index).is_some(), "it names {name}, which has no label");
                indices.insert(index as u32);
            }
            Meant::Nothing => missing.push(name.as_str()),
            Meant::Several(several) => bail!("{name} may be {}: name it by its path", matcher.shown(&several)),
        }
    }
    if !missing.is_empty() {
        bail!(
            "{} of its {} names are not among the training images, such as {}",
            missing.len(),
            wanted.len(),
            missing[..missing.len().min(SHOWN)].join(", ")
        )
    }
    Ok(indices.into_iter().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn numbered(labels: &[u32]) -> impl Iterator<Item = (u32, u32)> {
        labels.iter().enumerate().map(|(i, label)| (i as u32, *label))
    }

    fn choose(labels: &[u32], classes: usize, fraction: f64, seed: u64) -> Result<LabelSubset> {
        LabelSubset::draw(numbered(labels), classes, LabelAmount::Share(fraction), seed)
    }

    #[test]
    fn balanced_nested_and_pure() {
        let labels: Vec<u32> = (0..1000).map(|i| i % 10).collect();
        let small = choose(&labels, 10, 0.02, 3).unwrap();
        let large = choose(&labels, 10, 0.1, 3).unwrap();
        assert_eq!(small, choose(&labels, 10, 0.02, 3).unwrap());
        assert_ne!(small.indices, choose(&labels, 10, 0.02, 4).unwrap().indices);
        assert!(small.indices.iter().all(|i| large.indices.contains(i)), "nested");
        for class in 0..10 {
            assert_eq!(small.indices.iter().filter(|i| labels[**i as usize] == class).count(), 2);
        }
        let counted = LabelSubset::draw(numbered(&labels), 10, LabelAmount::PerClass(2), 3).unwrap();
        assert_eq!(counted.indices, small.indices, "two of each class, however they are asked for");
        assert_eq!(choose(&labels, 10, 0.004, 3).unwrap().indices.len(), 10, "one of each at least");
    }

    #[test]
    fn each_class_that_has_one_has_a_label() {
        let labels: Vec<u32> = [vec![0; 200], vec![1; 20], vec![3; 1]].concat();
        let subset = choose(&labels, 5, 0.01, 0).unwrap();
        let of = |class: u32| subset.indices.iter().filter(|i| labels[**i as usize] == class).count();
        assert_eq!([0, 1, 2, 3, 4].map(of), [2, 1, 0, 1, 0], "a class without an image is left out");
        assert_eq!(choose(&[0; 7], 1, 1.0, 0).unwrap().indices, (0..7).collect::<Vec<_>>());
        assert!(choose(&[], 2, 1.0, 0).unwrap_err().to_string().contains("no training image has a label"));
        for fraction in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(choose(&[0; 7], 1, fraction, 0).is_err());
        }
    }

    #[test]
    fn a_file_holds_the_subset() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.json");
        let subset = choose(&[0, 1, 0, 1, 1], 2, 0.5, 1).unwrap();
        subset.save(&path).unwrap();
        let read: LabelSubset = serde_json::from_value(disk::read_json(&path).unwrap()).unwrap();
        assert_eq!(read, subset);
        assert!(read.indices.is_sorted_by(|a, b| a < b), "each once, ascending: {:?}", read.indices);
    }
}
