//! Classes of a network and classes of a dataset: which of one is which of the other, by name.

use anyhow::{Result, bail};
use std::collections::BTreeSet;

/// Names that a message lists of each side, at most.
const SHOWN: usize = 3;

/// For each class of the dataset the network's output that means it; `None` where both have the same order.
///
/// Names are compared where both sides have them: the same set in whatever order is fine. Where one side has none, or
/// plain numbers (`0`, `1`, ...), the counts must agree, and a class is its number.
///
/// # Errors
/// When the classes differ; the message names some that each side lacks, and counts them.
pub fn order_of(own: (usize, &[String]), dataset: &[String]) -> Result<Option<Vec<usize>>> {
    let (count, names) = own;
    if names == dataset {
        return Ok(None);
    }
    let place = |name: &String| names.iter().position(|own| own == name);
    if unique(names) && unique(dataset) && names.len() == dataset.len() {
        let order: Option<Vec<usize>> = dataset.iter().map(place).collect();
        if order.is_some() {
            return Ok(order);
        }
    }
    if is_numbered(names) || is_numbered(dataset) {
        if count != dataset.len() {
            bail!("knows {count} classes, the dataset has {}", dataset.len())
        }
        return Ok(None);
    }
    let mut parts = Vec::new();
    for (of, side, other) in [("the dataset", names, dataset), ("the network", dataset, names)] {
        let other: BTreeSet<&String> = other.iter().collect();
        let lacking: Vec<&str> = side.iter().filter(|name| !other.contains(name)).map(String::as_str).collect();
        if !lacking.is_empty() {
            let more = if lacking.len() > SHOWN { ", ..." } else { "" };
            let few = lacking[..lacking.len().min(SHOWN)].join(", ");
            parts.push(format!("{of} lacks {} of them ({few}{more})", lacking.len()));
        }
    }
    if parts.is_empty() {
        parts.push("a name stands for two classes".into());
    }
    let told = parts.join("; ");
    bail!("knows {count} classes, the dataset has {}, and not the same ones: {told}", dataset.len())
}

/// Whether the names say no more than numbers do.
fn is_numbered(names: &[String]) -> bool {
    names.iter().enumerate().all(|(i, name)| *name == i.to_string())
}

fn unique(names: &[String]) -> bool {
    names.iter().collect::<BTreeSet<_>>().len() == names.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(String::from).collect()
    }

    fn order(own: &str, dataset: &str) -> Result<Option<Vec<usize>>> {
        let own = names(own);
        order_of((own.len(), &own), &names(dataset))
    }

    #[test]
    fn names_decide_where_both_have_them() {
        assert_eq!(order("cat dog emu", "cat dog emu").unwrap(), None);
        assert_eq!(order("cat dog emu", "emu cat dog").unwrap(), Some(vec![2, 0, 1]));
        // A network that learned its numbers sorted as text, and a dataset that sorts them as numbers.
        assert_eq!(order("0 1 10 2 3 4 5 6 7 8 9", "0 1 2 3 4 5 6 7 8 9 10").unwrap().unwrap()[2], 3);
        for (own, dataset, parts) in [
            (
                "a b c",
                "a b c d e f g",
                vec!["knows 3 classes, the dataset has 7", "the network lacks 4 of them (d, e, f, ...)"],
            ),
            ("a b c d", "a b", vec!["the dataset lacks 2 of them (c, d)"]),
            ("cat dog", "cat wolf", vec!["the dataset lacks 1 of them (dog)", "the network lacks 1 of them (wolf)"]),
            ("cat cat", "cat dog", vec!["the network lacks 1 of them (dog)"]),
            ("cat cat dog", "cat dog dog", vec!["a name stands for two classes"]),
        ] {
            let message = order(own, dataset).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }

    #[test]
    fn counts_decide_where_one_side_has_no_names() {
        assert_eq!(order_of((2, &[]), &names("cat dog")).unwrap(), None);
        assert_eq!(order("0 1", "cat dog").unwrap(), None);
        assert_eq!(order("cat dog", "0 1").unwrap(), None);
        for (own, dataset) in [("0 1 2", "0 1"), ("0 1", "a b c"), ("a b c", "0 1")] {
            assert!(order(own, dataset).unwrap_err().to_string().contains("the dataset has"), "{own}: {dataset}");
        }
        assert!(order_of((3, &[]), &names("0 1 2 3 4 5 6 7 8 9 10 11")).is_err());
    }
}
