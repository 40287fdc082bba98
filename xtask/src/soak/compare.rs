//! What two runs of one experiment came to, file by file: all but times, speeds and the paths of their folders.

use super::events;
use crate::layout;
use anyhow::{Context, Result};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The differences between two experiments' folders, each a sentence that names the file.
///
/// # Errors
/// When a file cannot be read.
pub fn folders(undisturbed: &Path, disturbed: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    let [theirs, ours] = [undisturbed, disturbed].map(|root| -> Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        files(root, Path::new(""), &mut found)?;
        Ok(found)
    });
    let (theirs, ours) = (theirs?, ours?);
    faults.extend(theirs.difference(&ours).map(|path| format!("{}: only in the undisturbed run", path.display())));
    faults.extend(ours.difference(&theirs).map(|path| format!("{}: only in the disturbed run", path.display())));
    for path in theirs.intersection(&ours) {
        let [a, b] = [undisturbed, disturbed].map(|root| {
            let file = root.join(path);
            std::fs::read(&file).with_context(|| format!("reading {}", file.display()))
        });
        let (a, b) = (a?, b?);
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        let difference = match end {
            "json" => in_json(&plain(&a, undisturbed), &plain(&b, disturbed)),
            "jsonl" => in_lines(&a, &b),
            // Pages hold times.
            "html" => None,
            _ => (a != b).then(|| first_byte(&a, &b)),
        };
        faults.extend(difference.map(|what| format!("{}: {what}", path.display())));
    }
    for dir in theirs.iter().filter(|path| path.ends_with(layout::METRICS)).filter_map(|path| path.parent()) {
        let [a, b] = [undisturbed, disturbed].map(|root| events::of(&root.join(dir)));
        let difference = events::difference(&a?, &b?);
        faults.extend(difference.map(|what| format!("{}: TensorBoard: {what}", dir.display())));
    }
    Ok(faults)
}

/// The files of a folder, but logs, states and TensorBoard's, which have a comparison of their own.
fn files(root: &Path, at: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    let folder = root.join(at);
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
        let name = entry.file_name();
        let path = at.join(&name);
        let text = name.to_string_lossy();
        if entry.path().is_dir() {
            if text != layout::LOGS {
                files(root, &path, found)?;
            }
        } else if !text.starts_with(layout::EVENTS) && !is_state(&text) {
            found.insert(path);
        }
    }
    Ok(())
}

/// States hold what a run goes on from. How many there are, and of which steps, depends on when it was ended.
fn is_state(name: &str) -> bool {
    layout::STATE.split('.').next().is_some_and(|stem| name.trim_start_matches('.').starts_with(stem))
}

/// Text with `ROOT` for the run's folder, which stands in some files.
fn plain(bytes: &[u8], root: &Path) -> String {
    String::from_utf8_lossy(bytes).replace(&root.display().to_string(), "ROOT")
}

/// Whether a key names a time or a speed.
fn is_time(key: &str) -> bool {
    key == "seconds" || key.ends_with("_seconds") || key.ends_with("_per_s") || key.ends_with("_s")
}

fn without_times(value: &mut Json) {
    match value {
        Json::Object(table) => {
            table.retain(|key, _| !is_time(key));
            table.values_mut().for_each(without_times);
        }
        Json::Array(list) => list.iter_mut().for_each(without_times),
        _ => {}
    }
}

fn in_json(a: &str, b: &str) -> Option<String> {
    let [a, b] = [a, b].map(|text| {
        let mut value: Option<Json> = serde_json::from_str(text).ok();
        value.iter_mut().for_each(without_times);
        value
    });
    match (a, b) {
        (Some(a), Some(b)) => (a != b).then(|| where_in(&a, &b, "")),
        _ => Some("is not JSON".into()),
    }
}

/// The first place where two values differ.
fn where_in(a: &Json, b: &Json, at: &str) -> String {
    if let (Json::Object(a), Json::Object(b)) = (a, b) {
        for key in a.keys().chain(b.keys()) {
            match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) if a == b => {}
                (Some(a), Some(b)) => return where_in(a, b, &format!("{at}.{key}")),
                _ => return format!("{at}.{key} is in one of the two"),
            }
        }
    }
    let short = |value: &Json| value.to_string().chars().take(80).collect::<String>();
    format!("{at} = {} and {}", short(a), short(b))
}

/// Lines of JSON, one a measurement: the same ones in the same order.
fn in_lines(a: &[u8], b: &[u8]) -> Option<String> {
    let [a, b] = [a, b].map(String::from_utf8_lossy);
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let different = a
        .iter()
        .zip(&b)
        .enumerate()
        .find_map(|(i, (a, b))| in_json(a, b).map(|what| format!("line {}: {what}", i + 1)));
    different.or_else(|| (a.len() != b.len()).then(|| format!("{} lines and {}", a.len(), b.len())))
}

fn first_byte(a: &[u8], b: &[u8]) -> String {
    let at = a.iter().zip(b).position(|(a, b)| a != b).unwrap_or(a.len().min(b.len()));
    format!("byte {at} of {} and {}", a.len(), b.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_difference_is_named_and_times_are_none() {
        let root = std::env::temp_dir().join(format!("simclr-compare-{}", std::process::id()));
        let write = |run: &str, name: &str, text: &str| {
            let path = root.join(run).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for (run, seconds) in [("a", 1), ("b", 2)] {
            write(run, "x/weights.safetensors", "bits");
            write(
                run,
                "x/facts.json",
                &format!("{{\"in\": \"{}\", \"seconds\": {seconds}}}", root.join(run).display()),
            );
            write(run, "x/course.jsonl", &format!("{{\"step\": 1, \"images_per_s\": {seconds}}}\n"));
            write(run, "log/x.log", &seconds.to_string());
            write(run, "page.html", &seconds.to_string());
        }
        let found = || folders(&root.join("a"), &root.join("b")).unwrap();
        assert_eq!(found(), [""; 0]);
        write("b", "x/weights.safetensors", "bets");
        write("b", "x/facts.json", "{\"in\": \"ROOT\", \"top1\": 1}");
        write("b", "x/course.jsonl", "{\"step\": 1}\n{\"step\": 1}\n");
        write("b", ".half.partial", "");
        let expected = [
            ".half.partial: only in the disturbed run",
            "x/course.jsonl: 1 lines and 2",
            "x/facts.json: .top1 is in one of the two",
            "x/weights.safetensors: byte 1 of 4 and 4",
        ];
        assert_eq!(found(), expected);
        std::fs::remove_dir_all(root).unwrap();
    }
}
