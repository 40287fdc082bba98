//! Experiment files: TOML in, `--set` and label-fraction overrides merged, errors that name the key.

use super::texts::{check_texts, not_toml};
use crate::amount::LabelAmount;
use crate::bounds;
use crate::disk;
use crate::fit::{self, short};
use crate::keys::path;
use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use std::path::Path;
use toml::{Table, Value};

/// Keys of a [`Duration`](super::Duration) table, of which exactly one may stand.
const DURATION: [&str; 3] = ["epochs", "steps", "images"];

/// Reads a TOML file and merges `key.path=value` pairs into it, which also outrank the `at` entries of label fractions; a
/// value that is not TOML is a string.
///
/// # Errors
/// When the file is missing or not TOML, or a pair has no `=` or leads through a key that is not a table.
pub fn read(path: &Path, set: &[String]) -> Result<Table> {
    let text = disk::read_small_text(path, bounds::SMALL_FILE).context("reading the experiment")?;
    let mut table: Table = text.parse().map_err(|e| not_toml(path, &text, &e))?;
    for pair in set {
        let shown = short(pair);
        let Some((key, value)) = pair.split_once('=') else {
            bail!("--set {shown}: expected key=value, such as pretrain.temperature=0.5")
        };
        let parts: Vec<&str> = key.split('.').map(str::trim).collect();
        if parts.iter().any(|part| part.is_empty()) {
            bail!("--set {shown}: the key has an empty part; expected a.b.c=value")
        }
        let mut nested = parse_value(value);
        for part in parts.iter().rev() {
            nested = Value::Table(Table::from_iter([(part.to_string(), nested)]));
        }
        let Value::Table(nested) = nested else { unreachable!("a key has at least one part") };
        check_path(&table, &parts[..parts.len() - 1]).with_context(|| format!("--set {shown}"))?;
        merge(&mut table, nested);
        outrank(&mut table, &parts);
    }
    check_texts(&table).with_context(|| format!("in {}", path.display()))?;
    Ok(table)
}

/// Takes the key `parts` out of every `at` entry on its way: what the command line says holds for each label fraction.
fn outrank(mut table: &mut Table, parts: &[&str]) {
    // A duration is replaced as a whole.
    let parts = if parts.last().is_some_and(|p| DURATION.contains(p)) { &parts[..parts.len() - 1] } else { parts };
    for (i, part) in parts.iter().enumerate() {
        if let Some(Value::Array(entries)) = table.get_mut("at") {
            entries.iter_mut().filter_map(Value::as_table_mut).for_each(|entry| remove(entry, &parts[i..]));
        }
        let Some(Value::Table(inner)) = table.get_mut(*part) else { return };
        table = inner;
    }
}

fn remove(table: &mut Table, parts: &[&str]) {
    match parts {
        [] => {}
        [key] => drop(table.remove(*key)),
        [first, rest @ ..] => {
            if let Some(Value::Table(inner)) = table.get_mut(*first) {
                remove(inner, rest);
            }
        }
    }
}

fn parse_value(text: &str) -> Value {
    match format!("value = {text}").parse::<Table>() {
        Ok(mut table) if table.len() == 1 => match table.remove("value") {
            Some(value) => value,
            None => Value::String(text.into()),
        },
        _ => Value::String(text.into()),
    }
}

fn check_path(mut table: &Table, parents: &[&str]) -> Result<()> {
    for (i, part) in parents.iter().enumerate() {
        match table.get(*part) {
            None => return Ok(()),
            Some(Value::Table(inner)) => table = inner,
            Some(other) => bail!("{} is a {}, not a table", parents[..=i].join("."), other.type_str()),
        }
    }
    Ok(())
}

/// Deep merge: tables key by key, anything else replaced. A duration replaces a duration: `{ epochs = 3 }` over
/// `{ steps = 10 }` must not leave both.
fn merge(into: &mut Table, from: Table) {
    let is_duration = |table: &Table| !table.is_empty() && table.keys().all(|k| DURATION.contains(&k.as_str()));
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if !(is_duration(old) && is_duration(&new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// The table as what it describes.
///
/// # Errors
/// Names the dotted path of the key that is unknown (with the nearest valid one), missing or of a wrong type.
pub fn typed<T: DeserializeOwned>(table: Table) -> Result<T> {
    typed_at("", table)
}

/// As [`typed`], for a table that stands at the dotted path `key` of the experiment file.
///
/// # Errors
/// As there.
pub fn typed_at<T: DeserializeOwned>(key: &str, table: Table) -> Result<T> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|e| {
        let inner = e.path().to_string();
        let at = match (key, inner.as_str()) {
            ("", _) => inner,
            (_, ".") => key.to_string(),
            _ => path(key, &inner),
        };
        explain(&at, e.inner().message())
    })
}

/// Serde's message, reworded; `at` is the dotted path where it stopped.
fn explain(at: &str, message: &str) -> anyhow::Error {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let parent = match at {
        "." => "",
        at => at,
    };
    if message.starts_with("unknown field")
        && let Some((unknown, valid)) = quoted.split_first()
    {
        // The path may or may not end in the unknown key itself.
        let parent = parent.strip_suffix(unknown).map_or(parent, |p| p.trim_end_matches('.'));
        let full = path(parent, &short(unknown));
        let near = valid
            .iter()
            .map(|key| (strsim::jaro_winkler(unknown, key), key))
            .filter(|(score, _)| *score > 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        return match near {
            Some((_, key)) => anyhow!("unknown key {full}; did you mean {key}?"),
            None => anyhow!("unknown key {full}; valid keys here: {}", valid.join(", ")),
        };
    }
    if message.starts_with("missing field")
        && let Some(key) = quoted.first()
    {
        let dot = if parent.is_empty() { "" } else { "." };
        return anyhow!("missing key {parent}{dot}{key}");
    }
    if message.contains("wanted exactly 1 element") {
        return anyhow!("{at}: exactly one of epochs, steps and images must stand here");
    }
    anyhow!("{at}: {}", fit::quoted(message))
}

/// Merges the `at` entries of one amount of labels into the stage table at `path`, and removes `at` from it.
///
/// # Errors
/// When an entry has no `labels`.
pub fn apply_overrides(table: &mut Table, path: &[&str], amount: LabelAmount) -> Result<()> {
    let mut stage = table;
    for part in path {
        match stage.get_mut(*part) {
            Some(Value::Table(inner)) => stage = inner,
            _ => return Ok(()),
        }
    }
    let Some(entries) = stage.remove("at") else { return Ok(()) };
    let at = format!("{}.at", path.join("."));
    let Value::Array(entries) = entries else { bail!("{at}: must be an array of tables, [[{at}]]") };
    for entry in entries {
        let Value::Table(mut entry) = entry else { bail!("{at}: must be an array of tables, [[{at}]]") };
        if labels(&entry).with_context(|| at.clone())? == amount {
            entry.remove("labels");
            merge(stage, entry);
        }
    }
    Ok(())
}

/// The amount of labels of an `at` entry.
///
/// # Errors
/// When there is none, or none that can be.
pub fn labels(entry: &Table) -> Result<LabelAmount> {
    let labels = match entry.get("labels") {
        Some(Value::Float(share)) => LabelAmount::Share(*share),
        Some(Value::Integer(share)) => LabelAmount::Share(*share as f64),
        Some(Value::String(text)) => text.parse().context("labels")?,
        Some(other) => bail!("labels is a {}, not a number or \"10-per-class\"", other.type_str()),
        None => bail!("an override has no labels; write labels = 0.01, the amount that it is for"),
    };
    labels.check("labels =")
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Config, Duration};

    pub const VALID: &str = r#"
        name = "tiny"
        data = { dataset = "textures", image_size = 16 }
        model = { depth = 18, width = 0.125 }
        [pretrain.training]
        length = { steps = 10 }
        batch = 8
        learning_rate = 0.3
        [finetune]
        proj_selector = 1
        training = { length = { epochs = 2 }, batch = 8, learning_rate = 0.1, momentum = 0.8 }
        [[finetune.at]]
        labels = 0.1
        training.length = { steps = 7 }
        [supervised]
        training = { length = { epochs = 2 }, batch = 8, learning_rate = 0.1 }
        [distill.self]
        training = { length = { epochs = 2 }, batch = 8, learning_rate = 0.1 }
        [eval.linear]
        epochs = 3
        batch = 4
    "#;

    pub fn load(text: &str, set: &[&str]) -> Result<Config> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path, &set.iter().map(|s| s.to_string()).collect::<Vec<_>>())
    }

    fn message(text: &str, set: &[&str]) -> String {
        format!("{:#}", load(text, set).unwrap_err())
    }

    #[test]
    fn a_valid_file_and_its_overrides() {
        let config = load(VALID, &[]).unwrap();
        assert_eq!(config.finetune.training.length, Duration::Epochs(2.0));
        let tenth = config.at_labels(LabelAmount::Share(0.1)).unwrap();
        assert_eq!(tenth.finetune.training.length, Duration::Steps(7));
        assert_eq!(tenth.finetune.training.momentum, 0.8, "a merge keeps what it does not mention");
        assert!(tenth.finetune.at.is_empty());
        assert_eq!(config.at_labels(LabelAmount::Share(0.01)).unwrap().finetune.training.length, Duration::Epochs(2.0));
        let again: Table = config.to_toml().unwrap().parse().unwrap();
        assert_eq!(typed::<Config>(again).unwrap().to_toml().unwrap(), config.to_toml().unwrap());
    }

    #[test]
    fn set_replaces_adds_and_falls_back_to_strings() {
        let set = ["data.dir=/some where", "pretrain.training.length.epochs=3", "eval.linear.epochs=9", "seed=5"];
        let config = load(VALID, &set).unwrap();
        assert_eq!(config.data.dir.as_deref(), Some(Path::new("/some where")));
        assert_eq!(config.pretrain.training.length, Duration::Epochs(3.0));
        assert_eq!((config.eval.linear.epochs, config.eval.linear.batch, config.seed), (9, 4, 5));
        assert!(message(VALID, &["name.x=1"]).contains("name is a string, not a table"));
        assert!(message(VALID, &["name"]).contains("expected key=value"));
    }

    #[test]
    fn set_outranks_the_entries_of_label_fractions() {
        for set in ["finetune.training.length={epochs=5}", "finetune.training.length.epochs=5"] {
            let config = load(VALID, &[set, "finetune.training.batch=4"]).unwrap();
            for fraction in [0.1, 0.5] {
                let training = config.at_labels(LabelAmount::Share(fraction)).unwrap().finetune.training;
                assert_eq!((training.length, training.batch), (Duration::Epochs(5.0), 4), "{set} at {fraction}");
            }
        }
        let tenth = load(VALID, &["finetune.training.batch=4"]).unwrap().at_labels(LabelAmount::Share(0.1)).unwrap();
        assert_eq!(tenth.finetune.training.length, Duration::Steps(7), "other keys of an entry stay");
    }

    #[test]
    fn mistakes_are_named() {
        let text = message(VALID, &["pretrain.tempratur=0.5"]);
        assert!(text.contains("unknown key pretrain.tempratur; did you mean temperature?"), "{text}");
        let text = message(VALID, &["pretrain.training.batch=many"]);
        assert!(text.contains("pretrain.training.batch") && text.contains("many"), "{text}");
        let text = message(&VALID.replace("{ steps = 10 }", "{ steps = 10, epochs = 1 }"), &[]);
        assert!(text.contains("pretrain.training.length") && text.contains("exactly one"), "{text}");
        let text = message(&VALID.replace("batch = 8\n        learning_rate = 0.3", "batch = 8"), &[]);
        assert!(text.contains("missing key pretrain.training.learning_rate"), "{text}");
        for (chunk, why) in
            [("pretrain.training.chunk=1", "must lie in 2 to"), ("pretrain.training.chunk=7", "one image")]
        {
            let text = message(VALID, &[chunk]);
            assert!(text.contains("pretrain.training.chunk") && text.contains(why), "{text}");
        }
        let text = message(VALID, &["finetune.training.chunk=4"]);
        assert!(text.contains("finetune.training.chunk") && text.contains("only pretraining"), "{text}");
        for chunk in ["pretrain.training.chunk=3", "pretrain.training.chunk=8", "pretrain.training.chunk=100"] {
            load(VALID, &[chunk]).unwrap();
        }
        let text = format!("{:#}", Config::load(Path::new("no/such.toml"), &[]).unwrap_err());
        assert!(text.contains("no/such.toml"), "{text}");
    }

    #[test]
    fn overrides_are_checked_when_the_file_is_read() {
        let text = message(&VALID.replace("training.length = { steps = 7 }", "training.lenght = { steps = 7 }"), &[]);
        assert!(text.contains("finetune.training.lenght; did you mean length?"), "{text}");
        let text = message(&VALID.replace("labels = 0.1", "proj_selector = 0"), &[]);
        assert!(text.contains("finetune.at") && text.contains("no labels"), "{text}");
    }

    #[test]
    fn every_value_of_every_stage_is_checked() {
        for (set, why) in [
            ("finetune.min_area=2", "must lie in 0 to 1"),
            ("distill.self.min_area=-0.1", "must lie in 0 to 1"),
            ("augment.color_strength=-1", "must lie in 0 to 10"),
            ("finetune.color_strength=-1", "must lie in 0 to 10"),
            ("distill.self.color_strength=nan", "must lie in 0 to 10"),
            ("finetune.freeze_after=-2", "must lie in -1 to"),
            ("finetune.freeze_after=5", "must lie in -1 to 4: this encoder has 4 groups"),
            ("supervised.proj_selector=4", "must lie in -1 to 3: the head has 3 layers"),
            ("eval.linear.weight_decay=-1", "must lie in 0 to 10"),
        ] {
            let text = message(VALID, &[set]);
            let key = set.split('=').next().unwrap();
            assert!(text.contains(&format!("{key} = ")) && text.contains(why), "{set}: {text}");
        }
    }

    #[test]
    fn optimisers_are_named_or_have_settings_of_their_own() {
        let config = load(VALID, &["pretrain.training.optimizer={name=\"adam\", beta_2=0.98}"]).unwrap();
        let text = config.to_toml().unwrap();
        assert!(text.contains("beta_2 = 0.98"), "{text}");
        assert!(text.contains("optimizer = \"lars\""), "one at its defaults is its name: {text}");
        let text = message(VALID, &["pretrain.training.optimizer=ranger"]);
        assert!(text.contains("pretrain.training.optimizer") && text.contains("`lars`, `sgd`, `adam`"), "{text}");
        let text = message(VALID, &["pretrain.training.optimizer={name=\"lars\", beta_2=0.98}"]);
        assert!(text.contains("beta_2") && text.contains("eta"), "{text}");
        for (settings, wrong) in [
            ("{name=\"adam\", beta_2=1.0}", "beta_2 = 1: must lie in 0 to 1, below 1"),
            ("{name=\"adam\", epsilon=0.0}", "epsilon = 0: must lie in 0 to 1, above 0"),
            ("{name=\"lars\", eta=-1.0}", "eta = -1: must lie in 0 to 1, above 0"),
        ] {
            let text = message(VALID, &[&format!("finetune.training.optimizer={settings}")]);
            assert!(text.contains(&format!("finetune.training.optimizer.{wrong}")), "{text}");
        }
    }
}
