//! Texts of an experiment file: how long they may be, what characters they hold, and what is said of one that is no TOML.

use crate::bounds;
use crate::fit::{self, short};
use crate::keys::path;
use anyhow::{Result, anyhow, bail, ensure};
use std::path::Path;
use toml::{Table, Value};

/// What is wrong with the text of a file that is not TOML, in one line.
pub fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let (number, column) =
        (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or("").chars().count() + 1);
    let line = short(&text.lines().nth(number - 1).unwrap_or_default().trim());
    let why = fit::line(error.message());
    // It may name a key, which may be of any length.
    let why = if why.len() > LONG { short(&why) } else { why };
    anyhow!("{} is not valid TOML at line {number}, column {column}, `{line}`: {why}", path.display())
}

/// Texts end up in messages, paths and names of folders: they are of a length, and of characters, that suit these.
///
/// # Errors
/// Names the dotted path of the first that is not.
pub fn check_texts(table: &Table) -> Result<()> {
    fn text(at: &str, text: &str) -> Result<()> {
        ensure!(
            text.len() <= bounds::TEXT,
            "{at} holds a text of {} bytes, {}: {} are the most",
            text.len(),
            short(&format_args!("{text:?}")),
            bounds::TEXT
        );
        let control = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        match control {
            None => Ok(()),
            Some(c) => {
                bail!("{at} = {}: holds the control character {c:?}; take it out", short(&format_args!("{text:?}")))
            }
        }
    }
    fn value(at: &str, inner: &Value) -> Result<()> {
        match inner {
            Value::String(inner) => text(at, inner),
            Value::Table(inner) => each(at, inner),
            Value::Array(list) => {
                ensure!(list.len() <= bounds::LIST, "{at} has {} elements: {} are the most", list.len(), bounds::LIST);
                list.iter().enumerate().try_for_each(|(i, inner)| value(&format!("{at}[{i}]"), inner))
            }
            _ => Ok(()),
        }
    }
    fn each(at: &str, table: &Table) -> Result<()> {
        ensure!(table.len() <= bounds::LIST, "{at} has {} keys: {} are the most", table.len(), bounds::LIST);
        table.iter().try_for_each(|(key, inner)| {
            let here = path(at, &short(key));
            ensure!(key.len() <= KEY && !key.contains(char::is_control), "unknown key {here}");
            value(&here, inner)
        })
    }
    each("", table)
}

/// Bytes of a parser's message that names nothing long.
const LONG: usize = 300;
/// Most bytes of a key: those of students are names of folders.
const KEY: usize = 200;
