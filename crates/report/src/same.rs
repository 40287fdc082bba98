//! Pictures of a dataset that are the same to the pixel, and those of them that stand in both splits.

use serde_json::{Value as Json, json};
use simclr_core::cli::say;
use simclr_data::{Dataset, ImageRef};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Pairs that are listed on the terminal.
const LISTED: usize = 5;

/// A number for the pixels of an image: the same for equal ones.
pub fn print(image: ImageRef<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (image.height, image.width, image.data).hash(&mut hasher);
    hasher.finish()
}

/// What is there twice, among the pictures that were decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Same {
    /// Pictures that were compared.
    compared: usize,
    /// Of them, copies of one that came before.
    copies: usize,
    /// Test pictures that are training pictures, too.
    leaks: usize,
    /// Groups whose labels differ.
    disagree: usize,
    /// Two of a group each, those across the splits first.
    pairs: Vec<[String; 2]>,
}

/// Compares the prints of both splits, training first: with the index of each picture its print.
pub fn found(data: &Dataset, prints: &[Vec<(usize, u64)>]) -> Same {
    let splits = [&data.train, &data.test];
    let mut groups: BTreeMap<u64, Vec<(usize, usize)>> = BTreeMap::new();
    for (split, prints) in prints.iter().enumerate() {
        prints.iter().for_each(|(index, print)| groups.entry(*print).or_default().push((split, *index)));
    }
    let mut same = Same { compared: prints.iter().map(Vec::len).sum(), ..Same::default() };
    let (mut across, mut within) = (Vec::new(), Vec::new());
    for group in groups.values().filter(|group| group.len() > 1) {
        same.copies += group.len() - 1;
        let test = group.iter().filter(|(split, _)| *split == 1).count();
        let leaks = if test < group.len() { test } else { 0 };
        same.leaks += leaks;
        let mut labels: Vec<u32> = group.iter().filter_map(|(split, index)| splits[*split].label(*index)).collect();
        labels.sort_unstable();
        labels.dedup();
        same.disagree += usize::from(labels.len() > 1);
        let place = |(split, index): &(usize, usize)| splits[*split].place(*index);
        // Training comes first in a group, test last.
        if let [first, .., last] = &group[..] {
            if leaks > 0 { &mut across } else { &mut within }.push([place(first), place(last)]);
        }
    }
    across.sort();
    within.sort();
    same.pairs = across.into_iter().chain(within).collect();
    same
}

impl Same {
    /// Prints it, and gives it as JSON.
    pub fn tell(&self) -> Json {
        if self.copies == 0 {
            say(format_args!("copies    none among {} decoded pictures", self.compared));
        } else {
            say(format_args!(
                "copies    {} of {} decoded pictures are there already, to the pixel",
                self.copies, self.compared
            ));
            if self.leaks > 0 {
                say(format_args!(
                    "          {} test pictures are training pictures, too: accuracy on them is too good",
                    self.leaks
                ));
            }
            if self.disagree > 0 {
                say(format_args!("          {} pictures have several labels", self.disagree));
            }
            self.pairs.iter().take(LISTED).for_each(|[a, b]| say(format_args!("          {a} = {b}")));
        }
        json!({
            "compared": self.compared, "copies": self.copies, "leaks": self.leaks, "disagree": self.disagree,
            "pairs": self.pairs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simclr_data::{Found, Images};

    fn images(shades: &[u8], labels: &[u32]) -> Images {
        Images { height: 1, width: 1, channels: 1, data: shades.to_vec(), labels: labels.to_vec() }
    }

    #[test]
    fn copies_and_leaks_are_counted() {
        let (train, test) = (images(&[1, 2, 2, 3], &[0, 1, 0, 0]), images(&[3, 9, 9], &[0, 1, 1]));
        let prints = [&train, &test].map(|set| (0..set.len()).map(|i| (i, print(set.get(i)))).collect());
        let (name, classes) = ("x".to_string(), vec!["a".to_string(), "b".to_string()]);
        let data = Dataset { name, classes, train: train.into(), test: test.into(), found: Found::default() };
        let same = found(&data, &prints);
        assert_eq!((same.compared, same.copies, same.leaks, same.disagree), (7, 3, 1, 1));
        assert_eq!(same.pairs[0], ["image 3".to_string(), "image 0".to_string()], "the leak first");
        assert_eq!(same.pairs.len(), 3);
        assert_ne!(print(images(&[1, 1], &[0, 0]).get(0)), print(images(&[2], &[0]).get(0)));
    }
}
