//! Files of pictures as a source: what folders, tar shards and parquet files have in common.

use crate::access::{Source, Stored};
use anyhow::{Result, bail, ensure};
use std::collections::BTreeSet;
use std::ops::Range;

/// Where encoded pictures lie.
pub(crate) trait Store: Send + Sync {
    /// The bytes of a picture.
    fn read(&self, index: usize) -> Result<Vec<u8>>;

    /// Where it is, for messages.
    fn place(&self, index: usize) -> String;

    /// As [`Source::shards`].
    fn shards(&self) -> Vec<Range<u32>> {
        Vec::new()
    }
}

/// What labels mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Classes {
    /// Names that were found among the samples, sorted: a split need not have all.
    Found(Vec<String>),
    /// Names that the files state, in the order of their numbers.
    Stated(Vec<String>),
    /// Numbers without names.
    Numbers,
}

/// The samples of one split.
pub(crate) struct Files {
    pub store: Box<dyn Store>,
    /// One stable name a sample, where samples have names.
    pub names: Option<Vec<Box<str>>>,
    pub labels: Vec<Option<u32>>,
    pub classes: Classes,
}

impl Source for Files {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn label(&self, index: usize) -> Option<u32> {
        self.labels[index]
    }

    fn name(&self, index: usize) -> Option<&str> {
        self.names.as_ref().map(|names| names[index].as_ref())
    }

    fn place(&self, index: usize) -> String {
        self.store.place(index)
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        self.store.read(index).map(Stored::File)
    }

    fn shards(&self) -> Vec<Range<u32>> {
        self.store.shards()
    }
}

/// Numbers for names of classes: sorted, so that they do not depend on the order of the samples.
pub(crate) fn number_classes(of: &[Option<String>]) -> (Vec<Option<u32>>, Classes) {
    let names: BTreeSet<&String> = of.iter().flatten().collect();
    let names: Vec<String> = names.into_iter().cloned().collect();
    let number = |name: &Option<String>| names.binary_search(name.as_ref()?).ok().map(|n| n as u32);
    (of.iter().map(number).collect(), Classes::Found(names))
}

/// Gives both splits the same classes; returns their names.
///
/// # Errors
/// When their classes cannot be told to be the same.
pub(crate) fn unite(train: &mut Files, test: Option<&mut Files>) -> Result<Vec<String>> {
    let none = |files: &Files| files.labels.iter().all(Option::is_none);
    let mut splits: Vec<&mut Files> = [train].into_iter().chain(test).filter(|files| !none(files)).collect();
    let names = match splits.as_mut_slice() {
        [] => return Ok(Vec::new()),
        [one] => one.classes.clone(),
        [a, b] => match (&a.classes, &b.classes) {
            (Classes::Found(one), Classes::Found(two)) => {
                let all: BTreeSet<String> = one.iter().chain(two).cloned().collect();
                let all: Vec<String> = all.into_iter().collect();
                for files in [a, b] {
                    renumber(files, &all);
                }
                Classes::Found(all)
            }
            (one, two) if one == two => one.clone(),
            (Classes::Stated(_), Classes::Stated(_)) => bail!("training and test images state different classes"),
            (Classes::Stated(names), Classes::Numbers) | (Classes::Numbers, Classes::Stated(names)) => {
                Classes::Stated(names.clone())
            }
            _ => bail!("one of training and test images has names of classes and the other numbers"),
        },
        _ => unreachable!("two splits at most"),
    };
    let most = splits.iter().flat_map(|files| files.labels.iter().flatten()).max().map_or(0, |m| *m as usize + 1);
    match names {
        Classes::Found(names) => Ok(names),
        Classes::Stated(names) => {
            ensure!(most <= names.len(), "a sample has label {}, but {} classes are stated", most - 1, names.len());
            Ok(names)
        }
        Classes::Numbers => Ok((0..most).map(|n| n.to_string()).collect()),
    }
}

fn renumber(files: &mut Files, all: &[String]) {
    let Classes::Found(own) = &files.classes else { return };
    let map: Vec<u32> = own.iter().map(|name| all.partition_point(|other| other < name) as u32).collect();
    files.labels.iter_mut().flatten().for_each(|label| *label = map[*label as usize]);
    files.classes = Classes::Found(all.to_vec());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Nothing;
    impl Store for Nothing {
        fn read(&self, _: usize) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }
        fn place(&self, index: usize) -> String {
            format!("file {index}")
        }
    }

    fn files(labels: Vec<Option<u32>>, classes: Classes) -> Files {
        Files { store: Box::new(Nothing), names: None, labels, classes }
    }

    fn found(names: &[&str]) -> Files {
        let (labels, classes) = number_classes(&names.iter().map(|n| Some(n.to_string())).collect::<Vec<_>>());
        files(labels, classes)
    }

    #[test]
    fn names_of_both_splits_make_the_classes() {
        let (mut train, mut test) = (found(&["dog", "ant", "dog"]), found(&["cat", "dog"]));
        assert_eq!(train.labels, [Some(1), Some(0), Some(1)]);
        assert_eq!(unite(&mut train, Some(&mut test)).unwrap(), ["ant", "cat", "dog"]);
        assert_eq!((train.labels, test.labels), (vec![Some(2), Some(0), Some(2)], vec![Some(1), Some(2)]));
        let mut bare = files(vec![None; 2], Classes::Numbers);
        assert!(unite(&mut bare, None).unwrap().is_empty());
        assert_eq!(unite(&mut found(&["b", "a"]), Some(&mut bare)).unwrap(), ["a", "b"]);
    }

    #[test]
    fn classes_that_do_not_fit_are_errors() {
        let numbers = |n| files(vec![Some(n)], Classes::Numbers);
        let stated =
            |names: &[&str]| files(vec![Some(0)], Classes::Stated(names.iter().map(|n| n.to_string()).collect()));
        assert_eq!(unite(&mut numbers(1), Some(&mut numbers(2))).unwrap(), ["0", "1", "2"]);
        assert_eq!(unite(&mut stated(&["x", "y"]), Some(&mut numbers(1))).unwrap(), ["x", "y"]);
        for (mut a, mut b, part) in [
            (stated(&["x"]), stated(&["y"]), "different classes"),
            (stated(&["x"]), numbers(1), "label 1, but 1 classes"),
            (found(&["x"]), numbers(1), "numbers"),
        ] {
            let message = unite(&mut a, Some(&mut b)).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}
