//! Class-balanced label subsets: a pure function of (labels, fraction, seed), kept as a list of indices.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use simclr_core::config::check_fraction;
use simclr_core::disk;
use simclr_core::rng::{Purpose, Rng};
use std::path::Path;

/// The training images whose label may be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelSubset {
    /// Share of the training images.
    pub fraction: f64,
    /// What chose them.
    pub seed: u64,
    /// Their indices, ascending.
    pub indices: Vec<u32>,
}

impl LabelSubset {
    /// `round(fraction * count)` images of each class. With one seed a smaller subset lies within a larger one.
    ///
    /// # Errors
    /// When a class would be left empty, with the smallest fraction that leaves none.
    pub fn choose(labels: &[u32], classes: usize, fraction: f64, seed: u64) -> Result<Self> {
        check_fraction("label fraction", fraction)?;
        let mut by_class = vec![Vec::new(); classes];
        for (i, &label) in labels.iter().enumerate() {
            by_class[label as usize].push(i as u32);
        }
        let smallest = by_class.iter().map(Vec::len).min().unwrap_or(0);
        let mut indices = Vec::new();
        for (class, members) in by_class.iter_mut().enumerate() {
            let keep = (fraction * members.len() as f64).round() as usize;
            if members.is_empty() {
                bail!("class {class} has no training image at all: raise data.limit, or leave it out")
            }
            if keep == 0 {
                // Rounded up, so that the fraction that is told does work.
                let usable = (0.5 / smallest.max(1) as f64 * 1e6).ceil() / 1e6;
                bail!(
                    "a label fraction of {fraction} leaves class {class} without a label ({} images); use at least {usable}",
                    members.len()
                )
            }
            Rng::stream(seed, Purpose::LabelSubset, &[class as u64]).shuffle(members);
            indices.extend_from_slice(&members[..keep]);
        }
        indices.sort_unstable();
        Ok(Self { fraction, seed, indices })
    }

    /// Writes the list as JSON.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        disk::write(path, serde_json::to_string(self)?.as_bytes())
    }

    /// Reads what [`Self::save`] wrote.
    ///
    /// # Errors
    /// When the file is missing or not such a list; the message names it.
    pub fn load(path: &Path) -> Result<Self> {
        let subset: Self = serde_json::from_value(disk::read_json(path)?)
            .with_context(|| format!("{} is not a label subset", path.display()))?;
        if !subset.indices.is_sorted_by(|a, b| a < b) {
            bail!("{}: `indices` must ascend, each once", path.display())
        }
        Ok(subset)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn balanced_nested_and_pure() {
        let labels: Vec<u32> = (0..1000).map(|i| i % 10).collect();
        let small = LabelSubset::choose(&labels, 10, 0.02, 3).unwrap();
        let large = LabelSubset::choose(&labels, 10, 0.1, 3).unwrap();
        assert_eq!(small, LabelSubset::choose(&labels, 10, 0.02, 3).unwrap());
        assert_ne!(small.indices, LabelSubset::choose(&labels, 10, 0.02, 4).unwrap().indices);
        assert!(small.indices.iter().all(|i| large.indices.contains(i)), "nested");
        for class in 0..10 {
            assert_eq!(small.indices.iter().filter(|i| labels[**i as usize] == class).count(), 2);
        }
        let message = LabelSubset::choose(&labels, 10, 0.004, 3).unwrap_err().to_string();
        assert!(message.contains("without a label") && message.contains("0.005"), "{message}");
    }
    #[test]
    fn the_fraction_that_an_error_tells_works() {
        let labels = [0; 7];
        let message = LabelSubset::choose(&labels, 1, 0.01, 0).unwrap_err().to_string();
        let usable: f64 = message.rsplit(' ').next().unwrap().parse().unwrap();
        assert_eq!(LabelSubset::choose(&labels, 1, usable, 0).unwrap().indices.len(), 1);
        assert_eq!(LabelSubset::choose(&labels, 1, 1.0, 0).unwrap().indices, (0..7).collect::<Vec<_>>());
        assert!(LabelSubset::choose(&labels, 2, 1.0, 0).unwrap_err().to_string().contains("class 1 has no training"));
        for fraction in [0.0, -0.1, 1.1, f64::NAN] {
            assert!(LabelSubset::choose(&labels, 1, fraction, 0).is_err());
        }
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.json");
        let subset = LabelSubset::choose(&[0, 1, 0, 1, 1], 2, 0.5, 1).unwrap();
        subset.save(&path).unwrap();
        assert_eq!(LabelSubset::load(&path).unwrap(), subset);
        for text in [r#"{"fraction": 0.1, "seed": 1, "indices": [4, 4]}"#, "{}", "[", ""] {
            std::fs::write(&path, text).unwrap();
            let message = format!("{:#}", LabelSubset::load(&path).unwrap_err());
            assert!(message.contains("labels.json"), "{message}");
        }
    }
}
