//! The cells of a study, and the experiment of each.

use crate::file::{Axis, Study, Value, Values};
use anyhow::{Context, Result, ensure};
use simclr_core::config::Config;
use toml::Table;

/// One combination of the axes' values.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The values with `-` between; `base` where nothing varies.
    pub id: String,
    /// By the axis' name.
    pub values: Values,
    /// What is measured of it: names of the results' methods.
    pub measure: Vec<String>,
    /// What it changes of the base, as `--set` has it.
    set: Vec<String>,
}

impl Cell {
    /// Its experiment with one seed; `more` is what the command line changes on top.
    ///
    /// # Errors
    /// When it is not a valid one.
    pub fn config(&self, study: &Study, seed: u64, more: &[String]) -> Result<Config> {
        let all = pairs(&study.set).into_iter().chain(self.set.iter().cloned()).chain(more.iter().cloned());
        let name = format!("name=\"{}\"", study.name);
        let all: Vec<String> = all.chain([format!("seed={seed}"), name]).collect();
        Config::load(&study.base, &all).with_context(|| format!("the cell {} of the study {}", self.id, study.name))
    }
}

/// Every combination that is not skipped, the last axis fastest.
///
/// # Errors
/// When none is left.
pub fn cells(study: &Study) -> Result<Vec<Cell>> {
    let mut cells =
        vec![Cell { id: String::new(), values: Values::new(), measure: study.measure.clone(), set: Vec::new() }];
    for axis in &study.axes {
        let with = |cell: &Cell, value: &Value| extended(cell, axis, value);
        cells = cells.iter().flat_map(|cell| axis.values.iter().map(move |value| with(cell, value))).collect();
    }
    let skipped = |cell: &Cell| {
        study.skip.iter().any(|skip| !skip.is_empty() && skip.iter().all(|(name, v)| cell.values.get(name) == Some(v)))
    };
    cells.retain(|cell| !skipped(cell));
    ensure!(!cells.is_empty(), "the study {} skips all of its cells", study.name);
    for cell in cells.iter_mut().filter(|cell| cell.id.is_empty()) {
        cell.id = "base".into();
    }
    Ok(cells)
}

fn extended(cell: &Cell, axis: &Axis, value: &Value) -> Cell {
    let mut next = cell.clone();
    let dash = if cell.id.is_empty() { "" } else { "-" };
    next.id += &format!("{dash}{}", value.name);
    next.values.insert(axis.name.clone(), value.name.clone());
    next.set.extend(pairs(&value.set));
    if let Some(measure) = &value.measure {
        next.measure.retain(|method| measure.contains(method));
    }
    next
}

/// A table as `key.path=value` pairs, which are merged key by key.
fn pairs(table: &Table) -> Vec<String> {
    let mut out = Vec::new();
    flatten("", table, &mut out);
    out
}

fn flatten(at: &str, table: &Table, out: &mut Vec<String>) {
    for (key, value) in table {
        let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => flatten(&at, inner, out),
            value => out.push(format!("{at}={value}")),
        }
    }
}

/// Where two experiments differ: the key, its value in the one and the other, as TOML; `-` where it has none.
///
/// # Errors
/// When one cannot be written out.
pub fn differences(one: &Config, other: &Config) -> Result<Vec<[String; 3]>> {
    let table = |config: &Config| Table::try_from(config).context("writing an experiment");
    let of = |config: &Config| {
        let pairs = pairs(&table(config)?);
        let pairs =
            pairs.into_iter().filter_map(|pair| pair.split_once('=').map(|(k, v)| (k.to_string(), v.to_string())));
        Ok::<_, anyhow::Error>(pairs.filter(|(key, _)| !["name", "seed"].contains(&key.as_str())).collect::<Vec<_>>())
    };
    let (one, other) = (of(one)?, of(other)?);
    let value = |of: &[(String, String)], key: &str| {
        of.iter().find(|(k, _)| k == key).map_or("-".to_string(), |(_, value)| value.clone())
    };
    let mut keys: Vec<&String> = one.iter().chain(&other).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    let rows = keys.into_iter().map(|key| [key.clone(), value(&one, key), value(&other, key)]);
    Ok(rows.filter(|[_, here, there]| here != there).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::file_tests::study;

    #[test]
    fn cells_are_all_combinations_but_those_that_are_skipped() {
        let ids = |study: &Study| cells(study).unwrap().into_iter().map(|cell| cell.id).collect::<Vec<_>>();
        let study = study();
        assert_eq!(ids(&study), ["1-low", "1-high", "2-low"]);
        let none = Study { axes: Vec::new(), skip: Vec::new(), ..study };
        assert_eq!(ids(&none), ["base"]);
    }

    #[test]
    fn a_cell_is_the_base_with_its_changes() {
        let study = study();
        let cells = cells(&study).unwrap();
        let config = |cell: &Cell, more: &[&str]| {
            cell.config(&study, 7, &more.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap()
        };
        let cell = config(&cells[2], &[]);
        assert_eq!((cell.seed, cell.model.proj_layers, cell.pretrain.temperature), (7, 2, 0.05));
        assert_eq!(cell.reproduce.labels, [simclr_core::config::LabelAmount::Share(0.01)], "of the scale");
        assert_eq!(config(&cells[2], &["pretrain.temperature=0.5"]).pretrain.temperature, 0.5, "of the command line");
        let base = Config::load(&study.base, &[]).unwrap();
        let keys: Vec<_> = differences(&base, &cell).unwrap();
        let expected = [
            ["finetune.proj_selector", "1", "0"],
            ["model.proj_layers", "3", "2"],
            ["pretrain.temperature", "0.25", "0.05"],
            ["reproduce.labels", "[0.01, 0.1]", "[0.01]"],
        ];
        assert_eq!(keys, expected.map(|row| row.map(String::from)));
    }
}
