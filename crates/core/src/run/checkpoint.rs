//! Checkpoints: `model.safetensors` + `config.json` go from stage to stage, `state.safetensors` resumes a run.
//!
//! Every file carries one metadata key only, and tensors in one order, so that equal contents give equal bytes.

use super::layout::{CHECKPOINT, CONFIG, MODEL, STATE};
use crate::params::ParamStore;
use crate::{disk, hub};
use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Writes `model.safetensors` and `config.json` into `dir`, which is made where it is missing.
///
/// # Errors
/// When the folder cannot be written.
pub fn save(dir: &Path, store: &ParamStore, config: &Json) -> Result<()> {
    save_tensors(dir, &store.save_map()?, config)
}

/// As [`save`], for tensors that are in the layout of files already.
///
/// # Errors
/// When the folder cannot be written.
pub fn save_tensors(dir: &Path, tensors: &BTreeMap<String, Tensor>, config: &Json) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    // The weights come last: whoever finds them finds their description too.
    disk::write_json(&dir.join(CONFIG), config)?;
    write_tensors(&dir.join(MODEL), tensors, ("format", "pt"))
}

/// The weights file that `path` means: the file itself, that of a checkpoint or run folder, or that of
/// `hf://OWNER/NAME[@REV][/FILE]`, which is downloaded into the hub's cache.
///
/// # Errors
/// When there is none: the message says where it was looked for.
pub fn find(path: &Path) -> Result<PathBuf> {
    if let Some(file) = hub::resolve(path)? {
        return Ok(file);
    }
    if path.is_file() {
        return Ok(path.into());
    }
    if !path.exists() {
        bail!(
            "{}: no such file or folder; expected a run, a checkpoint folder, a {MODEL} or hf://OWNER/NAME",
            path.display()
        )
    }
    let places = [path.join(MODEL), path.join(CHECKPOINT).join(MODEL)];
    match places.iter().find(|place| place.is_file()) {
        Some(place) => Ok(place.clone()),
        None if path.join(STATE).is_file() => {
            bail!("{}: this run is not finished and has no {MODEL} yet; resume it first", path.display())
        }
        None => bail!("{}: holds neither {MODEL} nor {CHECKPOINT}/{MODEL}", path.display()),
    }
}

/// Reads the weights (layout of files) and the description beside them from a run folder, a checkpoint folder or a
/// `model.safetensors`.
///
/// # Errors
/// When a file is missing or damaged; the message names it.
pub fn load(path: &Path) -> Result<(BTreeMap<String, Tensor>, Json)> {
    let file = find(path)?;
    let config = disk::read_json(&file.with_file_name(CONFIG))
        .with_context(|| format!("{} needs the {CONFIG} that was written beside it", file.display()))?;
    Ok((read_tensors(&file)?.0, config))
}

/// Writes everything that a run needs to go on, as one file, in one rename.
///
/// # Errors
/// When the folder cannot be written.
pub fn save_state(dir: &Path, tensors: &BTreeMap<String, Tensor>, state: &Json) -> Result<()> {
    write_tensors(&dir.join(STATE), tensors, ("state", &state.to_string()))
}

/// Reads what [`save_state`] wrote; `None` when there is no such file.
///
/// # Errors
/// When the file is damaged.
pub fn load_state(dir: &Path) -> Result<Option<(BTreeMap<String, Tensor>, Json)>> {
    let path = dir.join(STATE);
    if !path.exists() {
        return Ok(None);
    }
    let (tensors, metadata) = read_tensors(&path)?;
    let state = metadata.get("state").with_context(|| format!("{} holds no key \"state\"", path.display()))?;
    let state = serde_json::from_str(state).with_context(|| format!("the state in {}", path.display()))?;
    Ok(Some((tensors, state)))
}

/// Writes tensors as one file with one key of metadata, in one rename.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>, (key, value): (&str, &str)) -> Result<()> {
    disk::atomically(path, |partial| {
        let metadata = HashMap::from([(key.to_string(), value.to_string())]);
        Ok(safetensors::serialize_to_file(tensors, Some(metadata), partial)?)
    })
}

fn read_tensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, HashMap<String, String>)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let damaged = || format!("{} is damaged or no safetensors file ({} bytes)", path.display(), bytes.len());
    // This checks the header against the file's length before anything else is read.
    SafeTensors::deserialize(&bytes).with_context(damaged)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).with_context(damaged)?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).with_context(damaged)?;
    Ok((tensors.into_iter().collect(), header.metadata().clone().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::params::{Kind, Match, Part};
    use serde_json::json;

    fn store(value: f32) -> ParamStore {
        let mut store = ParamStore::new(Device::Cpu);
        for name in ["b.weight", "a.weight", "c.weight"] {
            let tensor = Tensor::full(value, (3, 2, 2, 2), &Device::Cpu).unwrap();
            store.add(name, Kind::Conv, Part::Stem, tensor).unwrap();
        }
        store
    }

    fn message(path: &Path) -> String {
        format!("{:#}", load(path).unwrap_err())
    }

    #[test]
    fn every_path_of_a_run_leads_to_the_weights() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join(CHECKPOINT);
        save(&dir, &store(2.0), &json!({"depth": 18})).unwrap();
        let bytes = std::fs::read(dir.join(MODEL)).unwrap();
        for path in [run.path().to_path_buf(), dir.clone(), dir.join(MODEL)] {
            let (tensors, config) = load(&path).unwrap();
            assert_eq!(config["depth"], 18);
            let loaded = store(0.0);
            loaded.load_map(&tensors, Match::EXACT).unwrap();
            assert_eq!(loaded.by_name("a.weight").unwrap().tensor.max_all().unwrap().to_scalar::<f32>().unwrap(), 2.0);
        }
        save(&dir, &store(2.0), &json!({"depth": 18})).unwrap();
        assert_eq!(std::fs::read(dir.join(MODEL)).unwrap(), bytes, "equal weights must give equal bytes");
        let names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "no temporary file stays: {names:?}");
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(message(&dir.path().join("nowhere")).contains("no such file or folder"));
        assert!(message(dir.path()).contains("holds neither"));
        assert!(message(Path::new("hf://someone")).contains("hf://OWNER/NAME"));
        save(dir.path(), &store(1.0), &json!({})).unwrap();
        let file = dir.path().join(MODEL);
        let bytes = std::fs::read(&file).unwrap();
        let huge = [&u64::MAX.to_le_bytes()[..], &bytes[8..]].concat();
        for damaged in [&bytes[..bytes.len() - 1], &bytes[..20], &bytes[..3], &huge, b""] {
            std::fs::write(&file, damaged).unwrap();
            assert!(message(dir.path()).contains("damaged"), "{} bytes", damaged.len());
        }
        std::fs::remove_file(dir.path().join(CONFIG)).unwrap();
        assert!(message(dir.path()).contains(CONFIG));
    }

    #[test]
    fn states() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load_state(dir.path()).unwrap().is_none());
        save_state(dir.path(), &store(3.0).save_map().unwrap(), &json!({"step": 7})).unwrap();
        let (tensors, state) = load_state(dir.path()).unwrap().unwrap();
        assert_eq!((tensors.len(), state["step"].as_u64()), (3, Some(7)));
        assert!(message(dir.path()).contains("not finished"));
    }
}
