//! Class-balanced label subsets: a pure function of (labels, fraction, seed), kept as a list of indices.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
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
        if !(fraction > 0.0 && fraction <= 1.0) {
            bail!("label fraction {fraction}: must lie in (0, 1]")
        }
        let mut by_class = vec![Vec::new(); classes];
        for (i, &label) in labels.iter().enumerate() {
            by_class[label as usize].push(i as u32);
        }
        let smallest = by_class.iter().map(Vec::len).min().unwrap_or(0);
        let mut indices = Vec::new();
        for (class, members) in by_class.iter_mut().enumerate() {
            let keep = (fraction * members.len() as f64).round() as usize;
            if keep == 0 {
                bail!(
                    "a label fraction of {fraction} leaves class {class} without a label ({} images); use at least {:.6}",
                    members.len(),
                    0.5 / smallest.max(1) as f64
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
        std::fs::write(path, serde_json::to_string(self)?).with_context(|| format!("writing {}", path.display()))
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
}
