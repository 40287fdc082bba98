//! Declared keys as lines of a reference.

use super::kind::{Key, Kind, Table};
use super::value::path;

/// What stands for a name that the experiment chooses.
const NAME: &str = "NAME";

/// One key of a reference.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its dotted path.
    pub path: String,
    /// What its value is.
    pub kind: Kind,
    /// Its declaration.
    pub key: &'static Key,
}

/// A table of a reference, with all the places where it may stand.
#[derive(Debug)]
pub struct Section {
    /// Dotted paths.
    pub places: Vec<String>,
    /// The table.
    pub table: &'static Table,
}

impl Row {
    /// Which values it may have: its range, and its type where that says more.
    pub fn values(&self) -> String {
        match (self.key.range.to_string(), &self.kind) {
            (range, kind) if range.is_empty() => kind.to_string(),
            (range, Kind::Plain(_)) if matches!(self.key.range, super::range::Range::Length { .. }) => range,
            (range, kind) => format!("{kind}, {range}"),
        }
    }

    /// The default in words.
    pub fn default(&self) -> String {
        match self.key.default.map(|default| default()) {
            None => "required".into(),
            Some(text) if text.is_empty() => "not set".into(),
            Some(text) => text,
        }
    }
}

/// The table that a value of this kind is or holds, and how its path goes on.
fn inner(kind: &Kind) -> Option<(&'static Table, String)> {
    match kind {
        Kind::Table(table) => Some((table, String::new())),
        Kind::Named(table) => Some((table, format!(".{NAME}"))),
        Kind::List(one) | Kind::Pair(one) => inner(one).map(|(table, rest)| (table, format!("[]{rest}"))),
        Kind::Plain(_) | Kind::Words(_) => None,
    }
}

/// The keys of `table`, which stands at the dotted path `at`, and those of the tables in it.
pub fn rows(table: &'static Table, at: &str) -> Vec<Row> {
    let each = table.keys.iter().flat_map(|key| {
        let (path, kind) = (path(at, key.name), (key.kind)());
        match inner(&kind) {
            Some((table, rest)) => rows(table, &format!("{path}{rest}")),
            None => vec![Row { path, kind, key }],
        }
    });
    each.collect()
}

/// `table`, which stands at the dotted path `at`, and the tables in it, each once, in the order in which they are met.
pub fn sections(table: &'static Table, at: &str) -> Vec<Section> {
    let mut found = Vec::new();
    collect(table, at.into(), &mut found);
    found
}

fn collect(table: &'static Table, place: String, found: &mut Vec<Section>) {
    if let Some(known) = found.iter_mut().find(|section| std::ptr::eq(section.table, table)) {
        known.places.push(place.clone());
    } else {
        found.push(Section { places: vec![place.clone()], table });
    }
    for key in table.keys {
        if let Some((table, rest)) = inner(&(key.kind)()) {
            collect(table, format!("{}{rest}", path(&place, key.name)), found);
        }
    }
}

/// Lines of a doc comment as a paragraph: links into the code lose their brackets.
pub fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").replace("[`", "`").replace("`]", "`")
}

/// The keys of `table` at the dotted path `at` for `--help`: a line each, with range or type and default.
pub fn help(table: &'static Table, at: &str) -> String {
    let line = |row: &Row| format!("  {:<40} {} [{}]\n", row.path, row.values(), row.default());
    rows(table, at).iter().map(line).collect()
}
