//! What an experiment was made from, kept beside it: with other labels it is made anew, and pretraining stays.

use crate::choose::{Choice, Pictures};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use simclr_core::disk;
use std::path::Path;

/// Where the pictures are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// `folder`, `tar` or `parquet`.
    pub dataset: String,
    /// The folder.
    pub dir: String,
    /// The table of labels.
    pub labels: Option<String>,
    /// A folder of more pictures, without labels.
    pub unlabeled: Option<String>,
    /// Pictures to measure on.
    pub test: Option<String>,
    /// Channels of the pictures, where they were named.
    pub channels: Option<usize>,
    /// The share to hold out, where it is not the usual one.
    pub held_out: Option<f64>,
}

impl Place {
    /// What tells this place from another, a few words each; labels may be anywhere.
    pub fn differ(&self, other: &Self) -> Vec<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        let number = |value: Option<f64>| value.map_or_else(|| "the usual share".into(), |share| share.to_string());
        let channels = |value: Option<usize>| value.map_or_else(|| "as found".into(), |n| n.to_string());
        let pairs = [
            ("--images", self.dir.clone(), other.dir.clone()),
            ("the kind of files", self.dataset.clone(), other.dataset.clone()),
            ("--unlabeled", text(&self.unlabeled), text(&other.unlabeled)),
            ("--test", text(&self.test), text(&other.test)),
            ("the share to hold out", number(self.held_out), number(other.held_out)),
            ("--channels", channels(self.channels), channels(other.channels)),
        ];
        let differing = pairs.into_iter().filter(|(_, there, here)| there != here);
        differing.map(|(what, there, here)| format!("{what} is {there} there and {here} here")).collect()
    }
}

/// All that the experiment follows from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The experiment's name.
    pub name: String,
    /// Everything random follows from it.
    pub seed: u64,
    /// What it runs on, for people.
    pub device: String,
    /// Whether maps are bf16.
    pub bf16: bool,
    /// Where the pictures are.
    pub place: Place,
    /// What they are.
    pub pictures: Pictures,
    /// What was chosen.
    pub choice: Choice,
    /// Which pictures have which label.
    pub labels: String,
}

/// The facts in `path`; none where there is no such file.
///
/// # Errors
/// When it is damaged.
pub fn read(path: &Path) -> Result<Option<Facts>> {
    if !path.exists() {
        return Ok(None);
    }
    let facts = serde_json::from_value(disk::read_json(path)?);
    facts.map(Some).with_context(|| format!("{} is not of this version: choose another --out", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_may_move_and_pictures_may_not() {
        let place = Place {
            dataset: "folder".into(),
            dir: "/photos".into(),
            labels: None,
            unlabeled: None,
            test: None,
            channels: None,
            held_out: None,
        };
        let labeled = Place { labels: Some("/labels.csv".into()), ..place.clone() };
        assert!(place.differ(&labeled).is_empty());
        let other = Place { dir: "/others".into(), held_out: Some(0.3), ..place.clone() };
        let differ = place.differ(&other).join("; ");
        assert!(differ.contains("--images is /photos there and /others here") && differ.contains("0.3"), "{differ}");
    }
}
