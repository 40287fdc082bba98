//! What is known of a picture that was looked at, and what it is called.

use simclr_data::{Dataset, Pictures};
use simclr_report::review::{Guess, Shown, Split};
use std::path::Path;

/// Likeliest classes of a picture that are kept.
pub const TOP: usize = 3;

/// What is known of a picture once it was looked at.
pub struct Judged {
    /// Its index in its split.
    pub sample: u32,
    /// Its likeliest classes, with their probabilities.
    pub best: Vec<(u32, f32)>,
    /// How doubtful it is, in 0..=1.
    pub doubt: f32,
}

/// What pictures are called.
pub struct Names<'a> {
    /// The dataset.
    pub data: &'a Dataset,
    /// Its folder, where it has one.
    pub dir: Option<&'a Path>,
}

impl Names<'_> {
    fn pictures(&self, split: Split) -> &Pictures {
        match split {
            Split::Train => &self.data.train,
            Split::Test => &self.data.test,
        }
    }

    /// The path below `data.dir`, with `/` between its parts, or whatever the dataset calls the picture.
    pub fn shown(&self, split: Split, index: u32) -> Shown {
        let place = self.pictures(split).place(index as usize);
        let below = self.dir.and_then(|dir| Path::new(&place).strip_prefix(dir).ok());
        let file = below.map(|path| path.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/"));
        Shown { split, index, file: file.unwrap_or(place) }
    }

    /// What a picture was taken for.
    pub fn guess(&self, split: Split, judged: &Judged) -> Guess {
        Guess { shown: self.shown(split, judged.sample), best: judged.best.clone() }
    }

    /// The name of a class.
    pub fn class(&self, class: u32) -> &str {
        self.data.classes.get(class as usize).map_or("?", String::as_str)
    }

    /// The class of a picture, where it is known.
    pub fn label(&self, split: Split, index: u32) -> Option<u32> {
        self.pictures(split).label(index as usize)
    }
}
