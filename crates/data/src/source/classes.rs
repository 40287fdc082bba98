//! What labels mean: classes by name or by number, in their natural order, the same for all splits.

use crate::name::natural;
use anyhow::{Context, Result, bail, ensure};
use simclr_core::bounds::CLASSES;
use std::collections::{BTreeSet, HashMap};

/// Most classes that a dataset may have, and the least number that can be no label: one class takes a row of the classifier.
pub(crate) const MOST_CLASSES: u32 = *CLASSES.end() as u32;

/// What labels mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Classes {
    /// Names that were found among the samples, in natural order: a split need not have all.
    Found(Vec<String>),
    /// Names that the files state, in the order of their numbers.
    #[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "only parquet files state names"))]
    Stated(Vec<String>),
    /// Numbers without names.
    Numbers,
}

/// A label as a file gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Number(u32),
    Word(Box<str>),
}

impl Given {
    /// What a text says: a whole number, or a word. Nothing, NaN and negative numbers, as unlabeled samples have them, are no
    /// label.
    ///
    /// # Errors
    /// When a number is so large that it can be no label.
    pub(crate) fn of_text(text: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case("nan") || text.eq_ignore_ascii_case("null") {
            return Ok(None);
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Some(Self::Word(text.into())));
        }
        // More digits than 64 bits hold are as large as any number that can be no label.
        Self::of_number(text.parse().unwrap_or(if digits.len() < text.len() { -1 } else { i64::MAX }))
            .with_context(|| format!("label {}", text.chars().take(24).collect::<String>()))
    }

    /// The same of a number.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn of_number(number: i64) -> Result<Option<Self>> {
        match u32::try_from(number) {
            _ if number < 0 => Ok(None),
            Ok(label) if label < MOST_CLASSES => Ok(Some(Self::Number(label))),
            _ => bail!(
                "{number} can be no class: numbers of classes are below {MOST_CLASSES}; is it an id? Give labels by data.labels"
            ),
        }
    }
}

/// Numbers and their meaning for labels as they were given: numbers stay what they are, unless there is a word among them.
pub(crate) fn resolve(given: Vec<Option<Given>>) -> (Vec<Option<u32>>, Classes) {
    if given.iter().flatten().any(|label| matches!(label, Given::Word(_))) {
        let word = |label: Given| match label {
            Given::Number(number) => number.to_string(),
            Given::Word(word) => word.into(),
        };
        return number_classes(&given.into_iter().map(|label| label.map(word)).collect::<Vec<_>>());
    }
    let number = |label: Given| match label {
        Given::Number(number) => Some(number),
        Given::Word(_) => None,
    };
    (given.into_iter().map(|label| label.and_then(number)).collect(), Classes::Numbers)
}

/// Numbers for names of classes: in natural order, so that they do not depend on the order of the samples.
pub(crate) fn number_classes<T: AsRef<str>>(of: &[Option<T>]) -> (Vec<Option<u32>>, Classes) {
    let names: BTreeSet<&str> = of.iter().flatten().map(AsRef::as_ref).collect();
    let names = in_order(names);
    let numbers = numbers(&names);
    let labels = of.iter().map(|name| name.as_ref().and_then(|name| numbers.get(name.as_ref()).copied())).collect();
    drop(numbers);
    (labels, Classes::Found(names))
}

fn in_order(names: BTreeSet<&str>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(String::from).collect();
    names.sort_by(|a, b| natural(a, b));
    names
}

fn numbers(names: &[String]) -> HashMap<&str, u32> {
    names.iter().enumerate().map(|(number, name)| (name.as_str(), number as u32)).collect()
}

/// The labels of a split and what they mean.
pub(crate) type Split<'a> = (&'a mut Vec<Option<u32>>, &'a Classes);

/// Gives the splits the same classes; returns their names. Numbers of which some are missing up to the largest, such as 1 to 3,
/// become classes in their order that are named by them.
///
/// # Errors
/// When their classes cannot be told to be the same, or are too many.
pub(crate) fn unite(mut splits: Vec<Split<'_>>) -> Result<Vec<String>> {
    splits.retain(|(labels, _)| labels.iter().any(Option::is_some));
    let mut all: Option<Classes> = None;
    for (_, classes) in &splits {
        all = Some(match (all, *classes) {
            (None, one) => one.clone(),
            (Some(Classes::Found(one)), Classes::Found(two)) => {
                Classes::Found(in_order(one.iter().chain(two).map(String::as_str).collect()))
            }
            (Some(one), two) if one == *two => one,
            (Some(Classes::Stated(_)), Classes::Stated(_)) => bail!("training and test images state different classes"),
            (Some(Classes::Stated(names)), Classes::Numbers) => Classes::Stated(names),
            (Some(Classes::Numbers), Classes::Stated(names)) => Classes::Stated(names.clone()),
            _ => bail!("one of training and test images has names of classes and the other numbers"),
        });
    }
    let names = match all {
        None => return Ok(Vec::new()),
        Some(Classes::Found(names)) => {
            renumber_names(&mut splits, &names);
            names
        }
        Some(Classes::Stated(names)) => {
            let most =
                splits.iter().flat_map(|(labels, _)| labels.iter().flatten()).max().map_or(0, |m| *m as usize + 1);
            ensure!(most <= names.len(), "a sample has label {}, but {} classes are stated", most - 1, names.len());
            names
        }
        Some(Classes::Numbers) => renumber(&mut splits),
    };
    let most = MOST_CLASSES as usize;
    ensure!(names.len() <= most, "there are {} classes, at most {most}: do the labels tell classes?", names.len());
    Ok(names)
}

fn renumber_names(splits: &mut [Split<'_>], all: &[String]) {
    let numbers = numbers(all);
    for (labels, classes) in splits {
        let Classes::Found(own) = classes else { continue };
        let map: Vec<Option<u32>> = own.iter().map(|name| numbers.get(name.as_str()).copied()).collect();
        labels.iter_mut().for_each(|label| *label = label.and_then(|label| map[label as usize]));
    }
}

/// Numbers become places among those that occur.
fn renumber(splits: &mut [Split<'_>]) -> Vec<String> {
    let used: BTreeSet<u32> = splits.iter().flat_map(|(labels, _)| labels.iter().flatten().copied()).collect();
    let used: Vec<u32> = used.into_iter().collect();
    if used.last().is_some_and(|most| *most as usize >= used.len()) {
        for label in splits.iter_mut().flat_map(|(labels, _)| labels.iter_mut().flatten()) {
            *label = used.partition_point(|number| number < label) as u32;
        }
    }
    used.iter().map(u32::to_string).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    type Own = (Vec<Option<u32>>, Classes);

    fn found(names: &[&str]) -> Own {
        number_classes(&names.iter().map(Some).collect::<Vec<_>>())
    }

    fn of_numbers(labels: &[u32]) -> Own {
        (labels.iter().copied().map(Some).collect(), Classes::Numbers)
    }

    fn united(splits: &mut [Own]) -> Result<Vec<String>> {
        unite(splits.iter_mut().map(|(labels, classes)| (labels, &*classes)).collect())
    }

    fn labels(own: &Own) -> Vec<u32> {
        own.0.iter().flatten().copied().collect()
    }

    #[test]
    fn names_of_both_splits_make_the_classes() {
        let mut splits = [found(&["dog", "ant", "dog"]), found(&["cat", "dog"])];
        assert_eq!(labels(&splits[0]), [1, 0, 1]);
        assert_eq!(united(&mut splits).unwrap(), ["ant", "cat", "dog"]);
        assert_eq!((labels(&splits[0]), labels(&splits[1])), (vec![2, 0, 2], vec![1, 2]));
        let bare = (vec![None; 2], Classes::Numbers);
        assert!(united(&mut [bare.clone()]).unwrap().is_empty());
        assert_eq!(united(&mut [found(&["b", "a"]), bare]).unwrap(), ["a", "b"]);
    }

    #[test]
    fn two_stands_before_ten() {
        let mut splits = [found(&["10", "2", "1"]), found(&["9", "11"])];
        assert_eq!(labels(&splits[0]), [2, 1, 0]);
        assert_eq!(united(&mut splits).unwrap(), ["1", "2", "9", "10", "11"]);
        assert_eq!((labels(&splits[0]), labels(&splits[1])), (vec![3, 1, 0], vec![2, 4]));
    }

    #[test]
    fn numbers_with_gaps_become_classes_that_they_name() {
        let mut splits = [of_numbers(&[3, 1, 2]), of_numbers(&[1, 7])];
        assert_eq!(united(&mut splits).unwrap(), ["1", "2", "3", "7"]);
        assert_eq!((labels(&splits[0]), labels(&splits[1])), (vec![2, 0, 1], vec![0, 3]));
        let mut whole = [of_numbers(&[2, 0]), of_numbers(&[1])];
        assert_eq!(
            (united(&mut whole).unwrap().join(""), labels(&whole[0])),
            ("012".into(), vec![2, 0]),
            "as they are"
        );
        let stated = (vec![Some(1)], Classes::Stated(vec!["x".into(), "y".into()]));
        let mut splits = [of_numbers(&[1]), stated];
        assert_eq!(
            (united(&mut splits).unwrap().join(""), labels(&splits[0])),
            ("xy".into(), vec![1]),
            "stated ones stay"
        );
    }

    #[test]
    fn what_is_no_label_is_none_and_what_can_be_none_an_error() {
        for none in ["", " \n", "-1", "-17", "NaN", "null", "-99999999999999999999"] {
            assert_eq!(Given::of_text(none).unwrap(), None, "{none}");
        }
        assert_eq!(Given::of_text(" 17\n").unwrap(), Some(Given::Number(17)));
        for word in ["cat", "none", "1.5", "-", "a b"] {
            assert_eq!(Given::of_text(word).unwrap(), Some(Given::Word(word.into())));
        }
        for huge in ["4000000000", "1000000", "99999999999999999999"] {
            let message = format!("{:#}", Given::of_text(huge).unwrap_err());
            assert!(message.contains("can be no class") && message.contains(huge), "{message}");
        }
        let given = |texts: &[&str]| resolve(texts.iter().map(|text| Given::of_text(text).unwrap()).collect());
        assert_eq!(given(&["3", "", "1"]), (vec![Some(3), None, Some(1)], Classes::Numbers));
        let words = Classes::Found(vec!["2".into(), "cat".into()]);
        assert_eq!(given(&["cat", "2", "-1"]), (vec![Some(1), Some(0), None], words));
    }

    #[test]
    fn classes_that_do_not_fit_are_errors() {
        let stated = |names: &[&str]| (vec![Some(0)], Classes::Stated(names.iter().map(|n| n.to_string()).collect()));
        assert_eq!(united(&mut [stated(&["x", "y"]), of_numbers(&[1])]).unwrap(), ["x", "y"]);
        for (a, b, part) in [
            (stated(&["x"]), stated(&["y"]), "different classes"),
            (stated(&["x"]), of_numbers(&[1]), "label 1, but 1 classes"),
            (found(&["x"]), of_numbers(&[1]), "numbers"),
        ] {
            let message = united(&mut [a, b]).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        let many: Vec<String> = (0..=MOST_CLASSES).map(|i| format!("c{i}")).collect();
        let message =
            united(&mut [number_classes(&many.iter().map(Some).collect::<Vec<_>>())]).unwrap_err().to_string();
        assert!(message.contains("1000001 classes, at most 1000000"), "{message}");
    }
}
