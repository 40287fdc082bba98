//! Checkpoints: `model.safetensors` + `config.json`, which go from stage to stage.
//!
//! Every file carries one metadata key only, and tensors in one order, so that equal contents give equal bytes.

use super::extend;
use super::layout::{CHECKPOINT, CONFIG, MANIFEST, MODEL, before_extend};
use super::states;
use crate::params::ParamStore;
use crate::tensors::{self, FileTensors};
use crate::{disk, hub, stages};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Writes `model.safetensors` and `config.json` into `dir`, which is made where it is missing.
///
/// # Errors
/// When numbers are not finite, a variance is negative, or the folder cannot be written.
pub fn save(dir: &Path, store: &ParamStore, config: &Json) -> Result<()> {
    store.check().with_context(|| unfit(dir))?;
    save_tensors(dir, &store.save_map()?, config)
}

fn unfit(dir: &Path) -> String {
    format!("no checkpoint is written into {}, for this network is of no use", dir.display())
}

/// As [`save`], for tensors that are in the layout of files already.
///
/// # Errors
/// When numbers are not finite, or the folder cannot be written.
pub fn save_tensors(dir: &Path, tensors: &BTreeMap<String, Tensor>, config: &Json) -> Result<()> {
    tensors::check(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor, false))).with_context(|| unfit(dir))?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    // The weights come last: whoever finds them finds their description too.
    disk::write_json(&dir.join(CONFIG), config)?;
    write_tensors(&dir.join(MODEL), tensors, ("format", "pt"))
}

/// Checks that a checkpoint may be written into `out`.
///
/// # Errors
/// When a checkpoint or a run is there.
pub fn refuse_to_overwrite(out: &Path) -> Result<()> {
    for held in [out.join(MODEL), out.join(CONFIG), out.join(CHECKPOINT)] {
        ensure!(
            !held.exists(),
            "{} is there already, and nothing that exists is overwritten: choose another --out, or move it away",
            held.display()
        );
    }
    Ok(())
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
    if path.exists() && !path.is_dir() {
        return Ok(path.into());
    }
    if !path.exists() {
        bail!(
            "{}: no such file or folder; expected a run, a checkpoint folder, a {MODEL} or hf://OWNER/NAME",
            path.display()
        )
    }
    let places = [path.join(MODEL), path.join(CHECKPOINT).join(MODEL)];
    // One that is no regular file is found, too: reading it says so.
    match places.iter().find(|place| place.exists() && !place.is_dir()) {
        Some(place) => Ok(place.clone()),
        None if measures(path) => bail!(
            "{}: this run measured a checkpoint and has none of its own; name the one that it measured",
            path.display()
        ),
        None if states::names(path).is_ok_and(|names| !names.is_empty()) => bail!(
            "{}: this run is not finished and has no {MODEL} yet; resume it first{}",
            path.display(),
            earlier(path)
                .map(|name| format!(", or take what it was before it was extended: {name}"))
                .unwrap_or_default()
        ),
        None => bail!("{}: holds neither {MODEL} nor {CHECKPOINT}/{MODEL}", path.display()),
    }
}

/// Whether the folder holds a run of a stage that trains no network.
fn measures(run: &Path) -> bool {
    let manifest = disk::read_json(&run.join(MANIFEST)).unwrap_or_default();
    manifest["stage"].as_str().and_then(stages::named).is_some_and(|stage| stage.measured().is_some())
}

/// What a run that is being trained further was before: the name of a folder in its own.
fn earlier(run: &Path) -> Option<String> {
    let name = before_extend(extend::last(&disk::read_json(&run.join(MANIFEST)).ok()?)?);
    run.join(&name).is_dir().then_some(name)
}

/// A checkpoint's two files, each read once.
pub struct Loaded {
    /// The weights, in the layout of files.
    pub tensors: BTreeMap<String, Tensor>,
    /// SHA-256 of the file that they came in.
    pub sha256: String,
    /// The description beside them.
    pub config: Json,
    /// Where the weights are.
    pub file: PathBuf,
}

/// Reads what [`find`] finds, and the description beside it.
///
/// # Errors
/// When a file is missing or damaged; the message names it.
pub fn load(path: &Path) -> Result<Loaded> {
    let file = find(path)?;
    let config = disk::read_json(&file.with_file_name(CONFIG))
        .with_context(|| format!("{} needs the {CONFIG} that was written beside it", file.display()))?;
    let FileTensors { tensors, sha256, .. } = tensors::read(&file)?;
    Ok(Loaded { tensors, sha256, config, file })
}

/// The tensors of a file, which need no description beside it, and the SHA-256 of its bytes.
///
/// # Errors
/// When the file is missing or damaged.
pub fn read_tensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, String)> {
    let FileTensors { tensors, sha256, .. } = tensors::read(path)?;
    Ok((tensors, sha256))
}

/// Writes tensors as one file with one key of metadata, in one rename.
///
/// # Errors
/// When the file cannot be written.
pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>, metadata: (&str, &str)) -> Result<()> {
    tensors::write(path, tensors, metadata, |_| Ok(()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::params::{Kind, Match, Part};
    use candle_core::Device;
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
        format!("{:#}", load(path).err().unwrap())
    }

    #[test]
    fn every_path_of_a_run_leads_to_the_weights() {
        let run = tempfile::tempdir().unwrap();
        let dir = run.path().join(CHECKPOINT);
        save(&dir, &store(2.0), &json!({"depth": 18})).unwrap();
        let bytes = std::fs::read(dir.join(MODEL)).unwrap();
        for path in [run.path().to_path_buf(), dir.clone(), dir.join(MODEL)] {
            let Loaded { tensors, sha256, config, .. } = load(&path).unwrap();
            assert_eq!((config["depth"].as_u64(), sha256), (Some(18), disk::sha256(&bytes)));
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
        #[cfg(unix)]
        {
            std::fs::remove_file(&file).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
            assert!(message(&file).contains("a named pipe, expected a regular file"), "{}", message(&file));
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, &bytes).unwrap();
        }
        std::fs::remove_file(dir.path().join(CONFIG)).unwrap();
        assert!(message(dir.path()).contains(CONFIG));
    }

    #[test]
    fn what_no_network_has_is_neither_written_nor_taken() {
        let dir = tempfile::tempdir().unwrap();
        for (number, kind, why) in [
            (f32::NAN, Kind::Statistic, "a: 1 of 1 numbers are not finite, the first is NaN at 0"),
            (f32::NEG_INFINITY, Kind::Linear, "a: 1 of 1 numbers are not finite, the first is -inf at 0"),
            (-1.0, Kind::Variance, "a: 1 of 1 numbers are negative, and it is a variance, the first is -1 at 0"),
        ] {
            let mut store = ParamStore::new(Device::Cpu);
            store.add("a", kind, Part::Stem, Tensor::new(&[number], &Device::Cpu).unwrap()).unwrap();
            let message = format!("{:#}", save(dir.path(), &store, &json!({})).unwrap_err());
            assert!(message.contains(why) && message.contains("no checkpoint is written into"), "{message}");
            assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
            let message = format!("{:#}", store.load_map(&store.save_map().unwrap(), Match::EXACT).unwrap_err());
            assert!(message.contains(why) && message.contains("the checkpoint holds what no network has"), "{message}");
        }
        let whole = BTreeMap::from([("a".to_string(), Tensor::new(&[1u8], &Device::Cpu).unwrap())]);
        assert!(format!("{:#}", save_tensors(dir.path(), &whole, &json!({})).unwrap_err()).contains("of type U8"));
    }

    #[test]
    fn a_run_without_a_network_says_why() {
        let dir = tempfile::tempdir().unwrap();
        states::save(dir.path(), 7, 2, (&store(3.0).save_map().unwrap(), &json!({}))).unwrap();
        assert!(message(dir.path()).contains("not finished"));
        std::fs::write(dir.path().join(MANIFEST), "{\"stage\": \"eval\"}").unwrap();
        assert!(message(dir.path()).contains("measured a checkpoint"));
    }
}
