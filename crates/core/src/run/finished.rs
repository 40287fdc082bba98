//! `result.json`, which says that a run is complete, and what it is held against: the files that the run handed on.

use super::layout::{CHECKPOINT, CONFIG, MODEL, RESULT};
use crate::fit::short;
use crate::{disk, stages};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value as Json, json};
use std::path::{Path, PathBuf};

/// The result's key for the files of the run's checkpoint and their SHA-256.
const FILES: &str = "files";
/// The result's key for the stage that it is of.
const STAGE: &str = "stage";

/// Writes the result of a run of `stage`, with the checksums of its checkpoint.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub fn write(dir: &Path, stage: &str, result: &Json) -> Result<()> {
    let path = dir.join(RESULT);
    if path.exists() {
        bail!("{} exists already", path.display())
    }
    let mut files = Map::new();
    for name in [MODEL, CONFIG].map(|name| format!("{CHECKPOINT}/{name}")) {
        if dir.join(&name).exists() {
            files.insert(name.clone(), json!(disk::file_sha256(&dir.join(&name))?));
        }
    }
    let mut result = result.clone();
    result[STAGE] = json!(stage);
    result[FILES] = Json::Object(files);
    disk::write_json(&path, &result)
}

/// The result of a run of `stage`; `None` where it is not finished. One that does not hold, since it is none or since a file of the
/// checkpoint is not what the run wrote, is set aside where `again` asks to go on: the run then ends once more, from its last state.
///
/// # Errors
/// When it does not hold, and `again` does not ask; when a file cannot be read.
pub fn read(dir: &Path, stage: &str, again: bool) -> Result<Option<Json>> {
    let path = dir.join(RESULT);
    let wrong = match held(dir, stage)? {
        None => return Ok(None),
        Some(Ok(result)) => return Ok(Some(result)),
        Some(Err(wrong)) => wrong,
    };
    if !again {
        bail!(
            "{} says that the run is finished, but {wrong}; add --resume to finish it again from its last state",
            path.display()
        )
    }
    let aside = free(&path);
    std::fs::rename(&path, &aside).with_context(|| format!("cannot rename {}", path.display()))?;
    tracing::warn!("{} said that the run is finished, but {wrong}; it is now {}", path.display(), aside.display());
    Ok(None)
}

/// The result of a run of `stage` that is finished and holds; nothing is changed, so that no lock is needed.
///
/// # Errors
/// When a file cannot be read.
pub fn whole(dir: &Path, stage: &str) -> Result<Option<Json>> {
    Ok(held(dir, stage)?.and_then(|result| result.ok()))
}

/// The result that a folder holds, or why it does not hold.
fn held(dir: &Path, stage: &str) -> Result<Option<Result<Json, String>>> {
    let path = dir.join(RESULT);
    if !path.exists() {
        return Ok(None);
    }
    Ok(Some(match disk::read_json(&path) {
        Ok(result) => match fault(dir, stage, &result)? {
            None => Ok(result),
            Some(fault) => Err(fault),
        },
        Err(error) => Err(format!("{error:#}")),
    }))
}

/// Why a result does not hold.
fn fault(dir: &Path, stage: &str, result: &Json) -> Result<Option<String>> {
    if result[STAGE].as_str() != Some(stage) {
        return Ok(Some(format!("its {STAGE} is {}, not \"{stage}\"", short(&result[STAGE]))));
    }
    let Some(files) = result[FILES].as_object() else {
        // Of an earlier version, which kept no checksums.
        let model = dir.join(CHECKPOINT).join(MODEL);
        let trains = stages::named(stage).is_some_and(|stage| stage.measured().is_none());
        let gone = trains && !std::fs::metadata(&model).is_ok_and(|model| model.len() > 0);
        return Ok(gone.then(|| format!("{} is gone", model.display())));
    };
    for (name, sum) in files {
        // Names that we write, and no path that leads elsewhere.
        if ![MODEL, CONFIG].iter().any(|ours| *name == format!("{CHECKPOINT}/{ours}")) {
            return Ok(Some(format!("its {FILES} name \"{}\"", short(name))));
        }
        let path = dir.join(name);
        if !path.is_file() {
            return Ok(Some(format!("{} is gone", path.display())));
        }
        if sum.as_str() != Some(disk::file_sha256(&path)?.as_str()) {
            return Ok(Some(format!("{} is not the file that it wrote", path.display())));
        }
    }
    Ok(None)
}

/// A name beside `path` that nothing has.
fn free(path: &Path) -> PathBuf {
    let names = (1..).map(|n| path.with_extension(format!("json.damaged-{n}")));
    names.into_iter().find(|name| !name.exists()).unwrap_or_else(|| path.with_extension("json.damaged"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn message(dir: &Path) -> String {
        read(dir, "pretrain", false).unwrap_err().to_string()
    }

    #[test]
    fn a_result_holds_while_its_files_do() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::create_dir(dir.join(CHECKPOINT)).unwrap();
        let model = dir.join(CHECKPOINT).join(MODEL);
        std::fs::write(&model, "weights").unwrap();
        assert!(read(dir, "pretrain", false).unwrap().is_none());
        write(dir, "pretrain", &json!({"top1": 0.5})).unwrap();
        assert!(write(dir, "pretrain", &json!({})).is_err(), "nothing is overwritten");
        let result = read(dir, "pretrain", false).unwrap().unwrap();
        assert_eq!((result["top1"].as_f64(), result[STAGE].as_str()), (Some(0.5), Some("pretrain")));
        assert!(read(dir, "finetune", false).unwrap_err().to_string().contains("its stage is \"pretrain\""));
        std::fs::write(&model, "weighty").unwrap();
        assert!(
            message(dir).contains("model.safetensors is not the file that it wrote; add --resume"),
            "{}",
            message(dir)
        );
        std::fs::remove_file(&model).unwrap();
        assert!(message(dir).contains("model.safetensors is gone"));
        assert!(read(dir, "pretrain", true).unwrap().is_none() && !dir.join(RESULT).exists());
        assert!(dir.join("result.json.damaged-1").exists());
    }

    #[test]
    fn what_is_no_result_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        for (text, wrong) in [
            ("{}", "its stage is null"),
            ("null", "its stage is null"),
            ("[1]", "its stage is null"),
            ("{\"stage\": \"eval\"}", "its stage is \"eval\", not \"pretrain\""),
            ("{\"stage\": \"pretrain\"}", "model.safetensors is gone"),
            ("{\"stage\": \"pretrain\", \"files\": {\"../../etc/passwd\": \"\"}}", "its files name"),
            ("{\"stage\": ", "not valid JSON"),
            ("", "not valid JSON"),
        ] {
            std::fs::write(dir.join(RESULT), text).unwrap();
            assert!(message(dir).contains(wrong), "{text}: {}", message(dir));
        }
    }
}
