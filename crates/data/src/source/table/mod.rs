//! Labels from a table: its rows matched to the pictures that they name.

mod read;

use super::classes::number_classes;
use super::files::Files;
use super::found::TableFound;
use crate::access::Source;
use crate::matching::{At, Matcher, Meant, Place};
use crate::name::stable_name;
use anyhow::{Context, Result, bail, ensure};
#[cfg(feature = "parquet")]
pub(crate) use read::{LABELS, plain};
use read::{Row, Table};
use simclr_core::config::DataConfig;
use simclr_core::{bounds, disk};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Places of the training split among all: its own pictures, and others.
const TRAINING: usize = 2;
/// Rows without a picture that are named.
const NAMED: usize = 5;

/// Where the table is: as the configuration says, or else in the dataset's folder.
pub(crate) fn path(file: &Path, config: &DataConfig) -> PathBuf {
    let inner = config.dir.as_ref().map(|dir| dir.join(file)).filter(|path| !file.is_file() && path.is_file());
    inner.unwrap_or(file.into())
}

/// Gives the samples of both splits the labels of the table that the configuration names, and no others; test pictures none
/// of which the table names keep the labels of their folders.
///
/// # Errors
/// When the table cannot be read, its columns cannot be told, a name is ambiguous, a picture has two labels, or no row names a
/// picture.
pub(crate) fn label(
    train: &mut Files,
    mut test: Option<&mut Files>,
    config: &DataConfig,
    file: &Path,
) -> Result<TableFound> {
    let path = path(file, config);
    let labeled = || -> Result<(Vec<Vec<Option<String>>>, TableFound)> {
        let bytes = disk::read_small(&path, bounds::TABLE)?;
        let places = places(train, test.as_deref());
        let named = |name: &str| {
            places.iter().any(|place| {
                place.range.clone().any(|i| {
                    let (own, path) = (place.source.name(i), place.source.path(i));
                    own == Some(name) || path.is_some_and(|path| path == name || path.rsplit('/').next() == Some(name))
                })
            })
        };
        let table = read::read(&bytes, config.label_columns.as_ref(), &named)?;
        let (labels, mut found) = matched(&table, &places)?;
        found.file = path.display().to_string();
        Ok((labels, found))
    };
    let (labels, found) = labeled().with_context(|| format!("data.labels: {}", path.display()))?;
    // The places of the training split come first, and make it whole.
    let (own, other) = labels.split_at(TRAINING);
    (train.labels, train.classes) = number_classes(&own.concat());
    let other = other.concat();
    if let Some(test) = test.take()
        && (other.iter().any(Option::is_some) || test.labeled() == 0)
    {
        (test.labels, test.classes) = number_classes(&other);
    }
    Ok(found)
}

/// The training split's own samples, its others, and those of the test split.
fn places<'a>(train: &'a Files, test: Option<&'a Files>) -> Vec<Place<'a>> {
    let own = Place { source: train, base: &train.base, range: 0..train.own };
    let others = Place { source: train, base: "", range: train.own..train.len() };
    let test = test.map(|test| Place { source: test, base: &test.base, range: 0..test.len() });
    [own, others].into_iter().chain(test).collect()
}

/// The label of each sample of each place.
fn matched(table: &Table, places: &[Place<'_>]) -> Result<(Vec<Vec<Option<String>>>, TableFound)> {
    let matcher = Matcher::new(places, table.rows.iter().map(|row| row.file.as_str()));
    let mut rows: HashMap<At, &Row> = HashMap::new();
    let mut found = TableFound { columns: table.columns.clone(), rows: table.rows.len(), ..TableFound::default() };
    for row in &table.rows {
        found.rows_without_label += usize::from(row.label.is_none());
        match matcher.find(&row.file) {
            Meant::Nothing => {
                found.rows_without_picture += 1;
                if found.some_without_picture.len() < NAMED {
                    found.some_without_picture.push(row.file.clone());
                }
            }
            Meant::Several(several) => {
                bail!("line {}: {} may be {}: name it by its path", row.line, row.file, matcher.shown(&several))
            }
            Meant::One(at) => match rows.get(&at) {
                Some(other) if row.label.is_some() && other.label.is_some() && row.label != other.label => {
                    let label = |row: &Row| row.label.clone().unwrap_or_default();
                    let (one, two) = (label(other), label(row));
                    bail!("lines {} and {} give {} two labels, {one} and {two}", other.line, row.line, row.file)
                }
                Some(other) if other.label.is_some() => {}
                _ => drop(rows.insert(at, row)),
            },
        }
    }
    let of = |place: usize, index: usize| rows.get(&(place, index)).and_then(|row| row.label.clone());
    // Pictures to measure on may have their labels from their folders.
    let counted = |place: usize| place < TRAINING || rows.keys().any(|at| at.0 == place);
    let pictures = places.iter().enumerate().filter(|(p, _)| counted(*p)).map(|(_, place)| place.range.len());
    let pictures: usize = pictures.sum();
    let labels: Vec<Vec<_>> =
        places.iter().enumerate().map(|(p, place)| place.range.clone().map(|i| of(p, i)).collect()).collect();
    found.labeled = labels.iter().flatten().flatten().count();
    found.pictures_without_row = pictures - rows.len();
    ensure!(!rows.is_empty(), "none of its {} rows names a picture: {}", found.rows, example(table, places));
    Ok((labels, found))
}

/// What names are like in a table and in the dataset.
fn example(table: &Table, places: &[Place<'_>]) -> String {
    let theirs = table.rows.first().map_or("nothing", |row| &row.file);
    let place = places.iter().find(|place| !place.range.is_empty());
    let own = place.and_then(|p| p.source.path(p.range.start).or(p.source.name(p.range.start)));
    match own {
        Some(own) => format!("it says {theirs}, they are called {own}, or {}", stable_name(own)),
        None => "the dataset's pictures have no names".into(),
    }
}

#[cfg(test)]
mod tests;
