//! Every key of every table: what lies beside its range is refused by its name, its ends are taken, its default is the default.
#![allow(clippy::unwrap_used)]

use super::file::tests::{VALID, load};
use super::{Config, Settings};
use crate::keys::{Kind, Range, Row, Without, number, rows};
use crate::optim::OptimizerConfig;

/// The keys of an experiment whose values stand in one place: with a student called `self`, and no lists of tables.
fn keys() -> Vec<Row> {
    let all = rows(Config::table(), "").into_iter();
    let mut all: Vec<Row> = all
        .filter(|row| !row.path.contains("[]") && !row.path.starts_with("stage"))
        .map(|row| Row { path: row.path.replace("NAME", "self"), ..row })
        .collect();
    for choice in OptimizerConfig::choices() {
        let at = format!("pretrain.training.optimizer={{name=\"{}\"}} pretrain.training.optimizer", choice.name);
        all.extend(rows(choice.table, &at));
    }
    assert!(all.len() > 120, "{} keys", all.len());
    all
}

/// Sets a key, as the command line does.
fn set(row: &Row, value: &str) -> anyhow::Result<Config> {
    let pair = format!("{}={value}", row.path);
    let mut pairs: Vec<String> = Vec::new();
    if row.path.contains("self.model.") {
        pairs.push("distill.self.model={depth=18}".into());
    }
    if let Some(table) = row.path.strip_suffix("patience") {
        pairs.push(format!("{table}eval_every={{steps=1}}"));
    }
    match row.path.split_once(' ') {
        Some((choice, key)) => pairs.extend([choice.into(), format!("{key}={value}")]),
        None => pairs.push(pair),
    }
    load(VALID, &pairs.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The dotted path of a key, as messages have it.
fn named(row: &Row) -> &str {
    row.path.rsplit(' ').next().unwrap()
}

fn refused(row: &Row, value: &str) {
    let message = match set(row, value) {
        Ok(_) => panic!("{} = {value} was taken", row.path),
        Err(error) => format!("{error:#}"),
    };
    let (table, key) = named(row).rsplit_once('.').unwrap_or(("", named(row)));
    // Which of an optimiser's settings is of a wrong type, it says itself.
    let known = message.contains(named(row)) || message.contains(table) && row.path.contains(' ');
    assert!(known, "{} = {value} ({key}): {message}", row.path);
    assert!(message.len() < 2000 && !message.contains(char::is_control), "{value}: {message}");
}

#[test]
fn what_lies_outside_is_refused_by_the_name_of_the_key() {
    for row in keys() {
        let whole = matches!(row.kind, Kind::Plain("whole number"));
        match row.key.range {
            Range::Numbers(first, last, without) => {
                let step = if whole { 1.0 } else { 1e-3 };
                let mut beside = vec![first - step, last + step, 1e300, -1e300];
                if without == Without::First {
                    beside.push(first);
                }
                if without == Without::Last {
                    beside.push(last);
                }
                beside.iter().for_each(|value| refused(&row, &number(*value)));
            }
            Range::Length { zero } => {
                let none: &[&str] = if zero { &[] } else { &["{steps=0}", "{epochs=0}", "{images=0}"] };
                let wrong = ["{epochs=1e300}", "{epochs=nan}", "{epochs=-1}", "{steps=2000000000000}", "{steps=-1}"];
                wrong.iter().chain(none).for_each(|value| refused(&row, value));
                refused(&row, "{steps=1, epochs=1}");
            }
            Range::Name => ["", "..", "a/b", "\"\\u0007\""].iter().for_each(|value| refused(&row, value)),
            Range::Any => {}
        }
        let wrong: &[&str] = match row.kind {
            Kind::Plain("number" | "whole number") => &["nan", "inf", "-inf", "many", "true", "[1]", "{}", "9e999"],
            Kind::Plain("text" | "path") => &["3", "true", "[\"a\"]", "{}", "\"\\u001b\""],
            Kind::Plain("true or false") => &["1", "maybe", "[]"],
            Kind::Words(_) => &["none of them", "3", "[]"],
            Kind::List(_) => &["3", "{}"],
            _ => &["true"],
        };
        wrong.iter().for_each(|value| refused(&row, value));
        refused(&row, &format!("\"{}\"", "x".repeat(100_000)));
        // More than 64 bits hold: to the command line it is a text, which may be a name.
        if !matches!(row.kind, Kind::Plain("text" | "path" | "name, or table of a name and settings")) {
            refused(&row, "99999999999999999999999999");
        }
    }
}

#[test]
fn ends_of_a_range_are_taken() {
    for row in keys() {
        let ends: Vec<String> = match row.key.range {
            Range::Numbers(first, last, without) => {
                let ends = [(first, Without::First), (last, Without::Last)];
                ends.into_iter().filter(|(_, end)| *end != without).map(|(value, _)| number(value)).collect()
            }
            Range::Length { zero: false } => {
                ["{epochs=1e6}", "{steps=1}", "{images=1000000000000}"].map(String::from).into()
            }
            Range::Length { zero: true } => vec!["{steps=0}".into(), "{epochs=0}".into()],
            _ => vec![],
        };
        for end in ends {
            let Err(error) = set(&row, &end) else { continue };
            let message = format!("{error:#}");
            // What other keys forbid is not for the range to say.
            let own = format!("{} = {end}: must lie in {}", named(&row), row.key.range);
            assert!(!message.ends_with(&own), "{message}");
            let others = [
                "groups",
                "layers",
                "is longer than the whole run",
                "the views of a batch",
                "one image of a batch",
                "only pretraining",
            ];
            assert!(others.iter().any(|other| message.contains(other)), "{} = {end}: {message}", row.path);
        }
    }
}

#[test]
fn the_declared_default_is_the_default() {
    for row in keys() {
        let Some(default) = row.key.default.map(|default| default()) else { continue };
        // An empty list of overrides is as good as none.
        if default.is_empty() {
            continue;
        }
        let without = row.path.split_once(' ').map(|(choice, _)| choice);
        let student = row.path.contains("self.model.").then_some("distill.self.model={depth=18}");
        let plain = load(VALID, &without.into_iter().chain(student).collect::<Vec<_>>()).unwrap();
        let given = set(&row, &default).unwrap_or_else(|error| panic!("{} = {default}: {error:#}", row.path));
        // What the example sets is not at its default.
        let set_there = [
            "finetune.at",
            "finetune.proj_selector",
            "finetune.training.momentum",
            "model.width",
            "eval.linear.epochs",
            "eval.linear.batch",
        ];
        if !set_there.contains(&row.path.as_str()) {
            assert_eq!(format!("{given:?}"), format!("{plain:?}"), "{} = {default}", row.path);
        }
    }
}

#[test]
fn every_key_says_what_it_means() {
    for row in keys() {
        assert!(!row.key.meaning.is_empty(), "{}", row.path);
    }
    for section in crate::keys::sections(Config::table(), "") {
        assert!(!section.table.meaning.is_empty(), "{:?}", section.places);
    }
}
