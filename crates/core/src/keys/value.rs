//! Types of values that keys have: what the reference calls them, how they are checked and shown.

use super::kind::{Kind, Table};
use super::range::{Range, number};
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The type of a key's value.
pub trait Value {
    /// What kind of value it is.
    fn kind() -> Kind;

    /// Checks it against the range of its key, whose dotted path is `key`.
    ///
    /// # Errors
    /// When it lies outside; the message names the key.
    fn check(&self, _key: &str, _range: &Range) -> Result<()> {
        Ok(())
    }

    /// As it may stand in an experiment file.
    fn shown(&self) -> String;
}

/// A table whose keys are declared.
pub trait Settings {
    /// Its keys.
    fn table() -> &'static Table;

    /// Checks each value against the range of its key, and then what keys must be to one another; `at` is the dotted path of
    /// the table, empty for the whole file.
    ///
    /// # Errors
    /// Names the first key that is wrong.
    fn check(&self, at: &str) -> Result<()>;
}

/// The dotted path of a key of the table at `at`.
pub fn path(at: &str, key: &str) -> String {
    if at.is_empty() { key.into() } else { format!("{at}.{key}") }
}

macro_rules! numbers {
    ($($type:ty: $kind:literal,)*) => {$(
        impl Value for $type {
            fn kind() -> Kind {
                Kind::Plain($kind)
            }

            fn check(&self, key: &str, range: &Range) -> Result<()> {
                range.check(key, *self as f64, &self.shown())
            }

            fn shown(&self) -> String {
                // The digits of its own type: 0.1 as f32 is not 0.1 as f64.
                let exact = format!("{self:?}");
                if exact.contains('e') { exact } else { self.to_string() }
            }
        }
    )*};
}

numbers! {
    f32: "number",
    f64: "number",
    usize: "whole number",
    u64: "whole number",
    i64: "whole number",
}

impl Value for bool {
    fn kind() -> Kind {
        Kind::Plain("true or false")
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn kind() -> Kind {
        Kind::Plain("text")
    }

    fn check(&self, key: &str, range: &Range) -> Result<()> {
        range.check_text(key, self)
    }

    fn shown(&self) -> String {
        toml::Value::String(self.clone()).to_string()
    }
}

impl Value for PathBuf {
    fn kind() -> Kind {
        Kind::Plain("path")
    }

    fn shown(&self) -> String {
        toml::Value::String(self.display().to_string()).to_string()
    }
}

impl Value for toml::Table {
    fn kind() -> Kind {
        Kind::Plain("table of any keys")
    }

    fn shown(&self) -> String {
        toml::Value::Table(self.clone()).to_string()
    }
}

impl<T: Value> Value for Option<T> {
    fn kind() -> Kind {
        T::kind()
    }

    fn check(&self, key: &str, range: &Range) -> Result<()> {
        self.as_ref().map_or(Ok(()), |value| value.check(key, range))
    }

    fn shown(&self) -> String {
        self.as_ref().map_or_else(String::new, T::shown)
    }
}

/// The elements as a list.
fn list<T: Value>(values: &[T]) -> String {
    format!("[{}]", values.iter().map(T::shown).collect::<Vec<_>>().join(", "))
}

impl<T: Value> Value for Vec<T> {
    fn kind() -> Kind {
        Kind::List(Box::new(T::kind()))
    }

    fn check(&self, key: &str, range: &Range) -> Result<()> {
        self.iter().enumerate().try_for_each(|(i, value)| value.check(&format!("{key}[{i}]"), range))
    }

    fn shown(&self) -> String {
        list(self)
    }
}

impl<T: Value> Value for [T; 2] {
    fn kind() -> Kind {
        Kind::Pair(Box::new(T::kind()))
    }

    fn check(&self, key: &str, range: &Range) -> Result<()> {
        self.iter().enumerate().try_for_each(|(i, value)| value.check(&format!("{key}[{i}]"), range))
    }

    fn shown(&self) -> String {
        list(self)
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    fn kind() -> Kind {
        match T::kind() {
            Kind::Table(table) => Kind::Named(table),
            other => other,
        }
    }

    fn check(&self, key: &str, range: &Range) -> Result<()> {
        self.iter().try_for_each(|(name, value)| {
            // Runs are called after them.
            Range::Name.check_text(&format!("a name in {key}"), name)?;
            value.check(&path(key, name), range)
        })
    }

    fn shown(&self) -> String {
        let each = self.iter().map(|(name, value)| format!("{name} = {}", value.shown()));
        format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
    }
}

/// Numbers of an array, as [`Value::shown`] has each.
pub fn shown_numbers(numbers: &[f64]) -> String {
    format!("[{}]", numbers.iter().map(|n| number(*n)).collect::<Vec<_>>().join(", "))
}
