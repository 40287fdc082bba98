//! What kind of value a key takes, and what is known of a key and of a table of keys.

use super::range::Range;
use std::fmt;

/// What kind of value a key takes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// As its words say, such as `whole number`.
    Plain(&'static str),
    /// One of some words.
    Words(&'static [Word]),
    /// A table.
    Table(&'static Table),
    /// Tables by names that the experiment chooses.
    Named(&'static Table),
    /// Any number of them.
    List(Box<Kind>),
    /// Two of them.
    Pair(Box<Kind>),
}

/// A word that a key may have as its value.
#[derive(Debug)]
pub struct Word {
    /// As it stands in the experiment file.
    pub word: &'static str,
    /// What it means, a line of the source each.
    pub meaning: &'static [&'static str],
}

/// One key, as it is declared.
#[derive(Debug)]
pub struct Key {
    /// Its name within its table.
    pub name: &'static str,
    /// What its value is.
    pub kind: fn() -> Kind,
    /// Which values it may have.
    pub range: Range,
    /// What it is where it does not stand; without one it has to.
    pub default: Option<fn() -> String>,
    /// What it means, a line of the source each.
    pub meaning: &'static [&'static str],
    /// Where it comes from, such as a section of a paper; empty where it is this project's own.
    pub source: &'static str,
}

/// A table of keys, as it is declared.
#[derive(Debug)]
pub struct Table {
    /// What it is, a line of the source each.
    pub meaning: &'static [&'static str],
    /// Its keys, in the order in which they are written.
    pub keys: &'static [Key],
}

/// Something that an experiment chooses by name, such as an optimiser, with settings of its own.
#[derive(Debug)]
pub struct Choice {
    /// Its name.
    pub name: &'static str,
    /// What it is, a line of the source each.
    pub meaning: &'static [&'static str],
    /// Its settings.
    pub table: &'static Table,
}

impl Choice {
    /// One whose table of settings says what it is.
    pub fn new(name: &'static str, table: &'static Table) -> Self {
        Self { name, meaning: table.meaning, table }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(words) => f.write_str(words),
            Self::Words(words) => {
                let last = words.len().saturating_sub(1);
                words.iter().enumerate().try_for_each(|(i, Word { word, .. })| {
                    let before = if i == 0 {
                        ""
                    } else if i == last {
                        " or "
                    } else {
                        ", "
                    };
                    write!(f, "{before}\"{word}\"")
                })
            }
            Self::Table(_) => f.write_str("table"),
            Self::Named(_) => f.write_str("tables by name"),
            Self::List(one) => write!(f, "list, each {one}"),
            Self::Pair(one) => write!(f, "two, each {one}"),
        }
    }
}
