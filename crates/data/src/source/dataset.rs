//! What a dataset is: its entry in the table, and its two splits once it is open.

use super::found::Found;
use crate::set::Pictures;
use anyhow::{Result, bail, ensure};
use simclr_core::config::DataConfig;

/// How images get their labels.
const ADVICE: &str =
    "one folder a class, a table by data.labels, a .cls file beside each image of a tar shard, or a label column";

/// What is known of a dataset before it is opened: its entry in the table of [`crate::source`].
#[derive(Debug)]
pub struct DatasetInfo {
    /// As in `data.dataset`.
    pub name: &'static str,
    /// For people, in the card and the report.
    pub title: &'static str,
    /// What it is and where it lies, in one line.
    pub about: &'static str,
    /// Whom to cite, and the page that offers it; none for the user's own pictures.
    pub citation: Option<&'static str>,
    /// Training images, those without a label included.
    pub train: Count,
    /// Test images.
    pub test: Count,
    /// Classes, where they do not depend on the files.
    pub classes: Option<usize>,
    /// Its place on the Hugging Face hub, OWNER/NAME.
    pub hub: Option<&'static str>,
    /// Whether it is made of files of pictures, so that `data.hub`, `data.train`, `data.test` and `data.lists` say which.
    pub of_files: bool,
    /// Opens it; `data.limit` is not its concern.
    pub open: fn(&DataConfig) -> Result<Dataset>,
}

/// How many images a split has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many, always.
    Exactly(usize),
    /// That depends on the files; estimates of work take so many.
    About(usize),
}

/// What people's own pictures are called where a dataset has no name.
pub const OWN_IMAGES: &str = "the author's own images";

impl Count {
    /// Of training pictures whose number only their files tell: as many as ImageNet has.
    pub const OF_FILES_TRAIN: Self = Self::About(1_281_167);
    /// The same of test pictures.
    pub const OF_FILES_TEST: Self = Self::About(50_000);

    /// The number that estimates of work take.
    pub fn estimate(self) -> usize {
        match self {
            Self::Exactly(count) | Self::About(count) => count,
        }
    }
}

impl DatasetInfo {
    /// Keys that say how files of pictures are found and read must not stand without effect.
    ///
    /// # Errors
    /// Names the key that means nothing to this dataset.
    pub fn check(&self, config: &DataConfig) -> Result<()> {
        let keys = [
            ("hub", config.hub.is_some()),
            ("train", config.train.is_some()),
            ("test", config.test.is_some()),
            ("labels", config.labels.is_some()),
            ("unlabeled", config.unlabeled.is_some()),
            ("fold", config.fold.is_some()),
            ("lists", !config.lists.is_empty()),
        ];
        match keys.iter().find(|(_, set)| *set && !self.of_files) {
            Some((key, _)) => bail!(
                "data.{key} is for files of pictures: data.dataset = \"folder\", \"tar\" or \"parquet\", not \"{}\"",
                self.name
            ),
            None => Ok(()),
        }
    }
}

/// A dataset with its two splits, which share channels and classes.
pub struct Dataset {
    /// As in `data.dataset`.
    pub name: String,
    /// Names of the classes; a label is an index into them. None where no image has a label.
    pub classes: Vec<String>,
    /// What may be learned from.
    pub train: Pictures,
    /// What is measured on; none where the dataset has no such split.
    pub test: Pictures,
    /// What was found while it was opened.
    pub found: Found,
}

impl Dataset {
    /// Checks that there are labels to learn from and to measure on; `what` names the stage that needs them.
    ///
    /// # Errors
    /// When either is missing; the message says which, and what to do.
    pub fn expect_labels(&self, what: &str) -> Result<()> {
        ensure!(
            self.train.labeled() > 0,
            "{what} learns from labels, and none of the {} training images has one: give {ADVICE}",
            self.train.len()
        );
        self.expect_test(what)
    }

    /// Checks that there are labeled images to measure accuracy on.
    ///
    /// # Errors
    /// As [`Dataset::expect_labels`].
    pub fn expect_test(&self, what: &str) -> Result<()> {
        ensure!(
            !self.test.is_empty(),
            "{what} measures accuracy on test images, and the dataset has none: name them by data.test, or have a share of the \
             labeled pictures held out by data.held_out"
        );
        ensure!(
            self.test.labeled() > 0,
            "{what} measures accuracy, and none of the {} test images has a label: give {ADVICE}",
            self.test.len()
        );
        Ok(())
    }
}
