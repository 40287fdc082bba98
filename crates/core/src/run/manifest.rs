//! Whether the run in a folder is the one that was asked for.

use super::extend::{self, EXTENDED};
use anyhow::{Result, bail};
use serde_json::{Map, Value as Json};
use std::path::Path;

/// How the run in a folder relates to the one that was asked for.
pub enum Same {
    /// It is that run.
    Run,
    /// It is one of another length: how they differ, in words.
    ButLength(String),
}

/// Holds the manifest that was found in `dir` against the one that was asked for.
///
/// # Errors
/// When they are of different runs: the message names what differs.
pub fn same(dir: &Path, found: &Json, wanted: &Json) -> Result<Same> {
    let all = differences(found, wanted);
    let shown = shown(&all);
    if all.is_empty() {
        Ok(Same::Run)
    } else if differences(&extend::without_length(found), &extend::without_length(wanted)).is_empty() {
        Ok(Same::ButLength(shown))
    } else {
        bail!("{} holds another run: {shown}. Choose another --out", dir.display())
    }
}

/// Where two manifests differ, in words.
pub fn different(found: &Json, wanted: &Json) -> Option<String> {
    let all = differences(found, wanted);
    (!all.is_empty()).then(|| shown(&all))
}

fn shown(differences: &[String]) -> String {
    differences[..differences.len().min(5)].join("; ")
}

fn differences(found: &Json, wanted: &Json) -> Vec<String> {
    let mut differences = Vec::new();
    differ("stage", &found["stage"], &wanted["stage"], &mut differences);
    // Stages differ in everything else, too: only runs of one stage are worth comparing.
    if differences.is_empty() {
        differ("", found, wanted, &mut differences);
    }
    differences
}

/// Collects the dotted paths where two manifests differ, with both values.
fn differ(path: &str, found: &Json, wanted: &Json, out: &mut Vec<String>) {
    match (found, wanted) {
        (Json::Object(a), Json::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                // The hash repeats what `config` says, another version may compute the same numbers, and who asks for a run
                // of some length need not know in how many pieces it was trained.
                if path.is_empty() && ["config_sha256", "version", EXTENDED].contains(&key.as_str()) {
                    continue;
                }
                let dot = if path.is_empty() { "" } else { "." };
                let value = |map: &Map<String, Json>| map.get(key).cloned().unwrap_or_default();
                differ(&format!("{path}{dot}{key}"), &value(a), &value(b), out);
            }
        }
        _ if found != wanted => out.push(format!("{path} is {found} there and {wanted} here")),
        _ => {}
    }
}
