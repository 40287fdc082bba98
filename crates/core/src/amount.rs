//! How many labels a stage may see: a share of them, or so many of each class.

use crate::bounds;
use crate::fit::short;
use crate::keys::{self, Kind, number};
use crate::readable::percent;
use anyhow::{Error, Result, bail};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// What follows the number of labels of each class.
const PER_CLASS: &str = "-per-class";
/// All labels, in a word.
const ALL: &str = "all";
/// Shares that differ by less are the same one.
const TOLERANCE: f64 = 1e-9;

/// How many labels a stage may see. In an experiment and on a command line: `0.1`, `"10-per-class"` or `"all"`.
#[derive(Clone, Copy, Debug)]
pub enum LabelAmount {
    /// A share of the labels of each class, in (0, 1].
    Share(f64),
    /// So many of each class, or all that it has where it has fewer.
    PerClass(usize),
}

impl LabelAmount {
    /// All labels.
    pub const ALL: Self = Self::Share(1.0);

    /// Whether these are all labels.
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// Of how many of `members` labeled images of a class the label is used: one at least, where there is one.
    pub fn of_class(self, members: usize) -> usize {
        let wanted = match self {
            Self::Share(share) => (share * members as f64).round() as usize,
            Self::PerClass(count) => count,
        };
        wanted.clamp(members.min(1), members)
    }

    /// Whether a class of so many labeled images cannot give the amount: a share is less than one, or there are not as many.
    pub fn misses(self, members: usize) -> bool {
        match self {
            Self::Share(share) => (share * members as f64).round() < 1.0,
            Self::PerClass(count) => count > members,
        }
    }

    /// About how many of `images` labeled images of `classes` classes.
    pub fn estimate(self, images: usize, classes: usize) -> usize {
        match self {
            Self::Share(share) => (images as f64 * share) as usize,
            Self::PerClass(count) => count.saturating_mul(classes).min(images),
        }
    }

    /// For people: `1 % of the labels`, `10 labels a class`.
    pub fn words(self) -> String {
        match self {
            Self::Share(share) => format!("{} of the labels", percent(share)),
            Self::PerClass(1) => "1 label a class".into(),
            Self::PerClass(count) => format!("{count} labels a class"),
        }
    }

    /// The order of a table: counts first, then shares, each from few to many.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::PerClass(a), Self::PerClass(b)) => a.cmp(b),
            (Self::Share(a), Self::Share(b)) => a.total_cmp(b),
            (Self::PerClass(_), Self::Share(_)) => Ordering::Less,
            (Self::Share(_), Self::PerClass(_)) => Ordering::Greater,
        }
    }

    /// Checks it; `what` leads the message, such as `--labels`.
    ///
    /// # Errors
    /// When a share does not lie in (0, 1], or there is to be no label of a class.
    pub fn check(self, what: &str) -> Result<Self> {
        match self {
            Self::Share(share) if !(share > 0.0 && share <= 1.0) => bail!(
                "{what} {}: a label fraction lies in (0, 1], such as 0.01 for 1 %; so many of each class are \
                 \"10{PER_CLASS}\", and all are \"{ALL}\"",
                number(share)
            ),
            Self::PerClass(0) => bail!("{what} 0{PER_CLASS}: must be at least 1"),
            Self::PerClass(count) if !bounds::IMAGES.contains(&count) => {
                bail!("{what} {count}{PER_CLASS}: must be at most {}{PER_CLASS}", bounds::IMAGES.end())
            }
            amount => Ok(amount),
        }
    }
}

impl keys::Value for LabelAmount {
    fn kind() -> Kind {
        Kind::Plain("share in (0, 1], \"N-per-class\" or \"all\"")
    }

    fn shown(&self) -> String {
        match self {
            Self::Share(share) => number(*share),
            Self::PerClass(_) => format!("\"{self}\""),
        }
    }
}

impl PartialEq for LabelAmount {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Share(a), Self::Share(b)) => (a - b).abs() <= TOLERANCE,
            (Self::PerClass(a), Self::PerClass(b)) => a == b,
            _ => false,
        }
    }
}

/// As on a command line, and in the names of folders: `0.1`, `10-per-class`, `1` for all.
impl fmt::Display for LabelAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => share.fmt(f),
            Self::PerClass(count) => write!(f, "{count}{PER_CLASS}"),
        }
    }
}

impl FromStr for LabelAmount {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let count = text.strip_suffix(PER_CLASS).map(str::parse::<usize>);
        match (text, count, text.parse::<f64>()) {
            (ALL, ..) => Ok(Self::ALL),
            (_, Some(Ok(count)), _) => Ok(Self::PerClass(count)),
            (_, _, Ok(share)) => Ok(Self::Share(share)),
            _ => bail!(
                "{}: expected a share such as 0.1, \"10{PER_CLASS}\" or \"{ALL}\"",
                short(&format_args!("{text:?}"))
            ),
        }
    }
}

impl Serialize for LabelAmount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Share(share) => serializer.serialize_f64(*share),
            Self::PerClass(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for LabelAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a share such as 0.1, \"10-per-class\" or \"all\"")]
        enum Written {
            Number(f64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(share) => Ok(Self::Share(share)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> LabelAmount {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_is_read_and_written() {
        for (text, written, words) in [
            ("0.01", "0.01", "1 % of the labels"),
            ("all", "1", "100 % of the labels"),
            ("10-per-class", "10-per-class", "10 labels a class"),
        ] {
            let amount = read(text);
            assert_eq!((amount.to_string(), amount.words()), (written.into(), words.into()));
            let json = serde_json::to_value(amount).unwrap();
            assert_eq!(serde_json::from_value::<LabelAmount>(json).unwrap(), amount);
        }
        assert_eq!(serde_json::to_string(&read("0.1")).unwrap(), "0.1", "as manifests have it");
        for wrong in ["ten", "-per-class", "x-per-class", "10 per class", ""] {
            assert!(wrong.parse::<LabelAmount>().unwrap_err().to_string().contains("10-per-class"), "{wrong}");
        }
        for wrong in ["0", "-0.1", "1.1", "NaN", "0-per-class"] {
            assert!(read(wrong).check("--labels").unwrap_err().to_string().starts_with("--labels "), "{wrong}");
        }
    }

    #[test]
    fn a_class_keeps_one_label_and_gives_no_more_than_it_has() {
        assert_eq!([200, 20, 1, 0].map(|n| LabelAmount::Share(0.01).of_class(n)), [2, 1, 1, 0]);
        assert_eq!([200, 20, 1, 0].map(|n| LabelAmount::PerClass(30).of_class(n)), [30, 20, 1, 0]);
        assert!(LabelAmount::Share(0.01).misses(20) && !LabelAmount::Share(0.01).misses(200));
        assert!(LabelAmount::PerClass(3).misses(2) && !LabelAmount::PerClass(3).misses(3));
        assert_eq!((LabelAmount::ALL.of_class(7), LabelAmount::PerClass(3).estimate(1000, 10)), (7, 30));
    }

    #[test]
    fn tables_go_from_few_to_many() {
        let mut all = ["0.1", "20-per-class", "all", "3-per-class", "0.01"].map(read);
        all.sort_by(LabelAmount::order);
        assert_eq!(all.map(|a| a.to_string()), ["3-per-class", "20-per-class", "0.01", "0.1", "1"]);
    }
}
