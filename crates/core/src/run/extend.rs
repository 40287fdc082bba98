//! A finished run that is trained further: what it was is kept beside, and its manifest tells of it.

use super::layout::{BEST, CHECKPOINT, EXPERIMENT, LABELS, MANIFEST, METRICS, RESULT, before_extend, state_after};
use super::states;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value as Json, json};
use std::path::Path;

/// The manifest's key for the lengths that a run had, `[{"from_step": N, "length": {...}}]`.
pub const EXTENDED: &str = "extended";

/// That a finished run is to be trained further.
pub struct Extend<'a> {
    /// Steps in all that the experiment's length comes to, for so many images in an epoch.
    pub steps: &'a dyn Fn(usize) -> u64,
}

/// A manifest without the length of training: what does not change when a run is trained further.
pub fn without_length(manifest: &Json) -> Json {
    let mut manifest = manifest.clone();
    if let Some(training) = length_table(&mut manifest) {
        training.remove("length");
    }
    manifest
}

/// The table of a manifest that holds the length: that of the stage's own training.
fn length_table(manifest: &mut Json) -> Option<&mut serde_json::Map<String, Json>> {
    let stage = manifest["stage"].as_str()?.to_string();
    manifest.get_mut("config")?.get_mut(&stage)?.get_mut("training")?.as_object_mut()
}

/// The step from which a run was trained further last.
pub fn last(manifest: &Json) -> Option<u64> {
    manifest[EXTENDED].as_array()?.last()?["from_step"].as_u64()
}

/// Whether a result is that from before the run was trained further: a crash left it.
pub fn is_left_over(manifest: &Json, result: &Json) -> bool {
    last(manifest).is_some_and(|from| result["steps"].as_u64().is_some_and(|steps| steps <= from))
}

/// A finished run.
pub struct Finished<'a> {
    /// Its folder.
    pub dir: &'a Path,
    /// Its manifest.
    pub manifest: &'a Json,
    /// Its result.
    pub result: &'a Json,
    /// What its last state says, where it is still there.
    pub state: Option<&'a Json>,
}

/// Checks that a finished run can go on, copies what it is into `before-extend-STEP`, and gives the manifest of the
/// longer run, which is `wanted` and its history. Of the run itself nothing is changed yet.
///
/// # Errors
/// When the new length is no longer than the run is, its state is gone, or the folder cannot be written.
pub fn prepare(run: &Finished<'_>, wanted: &Json, extend: &Extend<'_>) -> Result<Json> {
    let Finished { dir, manifest: found, result, state } = *run;
    let number = |key: &str| {
        let value = result[key].as_u64();
        value.with_context(|| {
            format!("{}: holds no {key}: only a run that trained can be extended", dir.join(RESULT).display())
        })
    };
    let (step, examples) = (number("steps")?, number("examples")?);
    let total = (extend.steps)(examples as usize);
    ensure!(
        total > step,
        "--extend: {} is trained for {step} steps already, and the experiment's length comes to {total}: set a longer one",
        dir.display()
    );
    let Some(state) = state else {
        bail!(
            "--extend: {} is gone, and without the optimiser's state a run cannot go on as it was; start a new one from its \
             weights instead (simclr-pretrain --from, simclr-finetune --from)",
            dir.join(state_after(step)).display()
        )
    };
    ensure!(
        state["step"].as_u64() == Some(step),
        "--extend: the last state in {} is that after step {}, and the run ended after step {step}",
        dir.display(),
        state["step"]
    );
    keep(dir, step)?;
    let mut manifest = wanted.clone();
    let mut extended = found[EXTENDED].as_array().cloned().unwrap_or_default();
    let length = length_table(&mut found.clone()).and_then(|training| training.remove("length"));
    extended.push(json!({"from_step": step, "length": length}));
    manifest[EXTENDED] = json!(extended);
    Ok(manifest)
}

/// Removes what belongs to the shorter run, of which there is a copy. The result goes last: while it is there, this is done
/// again.
///
/// # Errors
/// When something cannot be removed.
pub fn clear(dir: &Path) -> Result<()> {
    for name in [EXPERIMENT, CHECKPOINT, RESULT] {
        let path = dir.join(name);
        let removed = match (path.is_dir(), path.exists()) {
            (true, _) => std::fs::remove_dir_all(&path),
            (false, true) => std::fs::remove_file(&path),
            (false, false) => Ok(()),
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Makes the folder `before-extend-STEP`, whole or not at all.
fn keep(dir: &Path, step: u64) -> Result<()> {
    let place = dir.join(before_extend(step));
    if place.exists() {
        // A crash came between this and the new manifest.
        return Ok(());
    }
    let partial = dir.join(format!(".{}.partial", before_extend(step)));
    if partial.exists() {
        std::fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    let state = states::names(dir)?.into_iter().next();
    let names = [MANIFEST, EXPERIMENT, METRICS, LABELS, RESULT].into_iter().chain(state.as_deref());
    copy(dir, &partial, &names.collect::<Vec<_>>())?;
    for folder in [CHECKPOINT, BEST].map(|name| dir.join(name)).iter().filter(|folder| folder.is_dir()) {
        let names: Vec<_> = std::fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect())
            .with_context(|| format!("cannot read {}", folder.display()))?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        copy(folder, &partial.join(folder.file_name().unwrap_or_default()), &names)?;
    }
    std::fs::rename(&partial, &place).with_context(|| format!("cannot make {}", place.display()))
}

/// Copies those of the files that are there. Tensors are linked where the file system can: they are written anew and renamed,
/// never changed in place.
fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make the folder {}", to.display()))?;
    for name in names {
        let (source, copy) = (from.join(name), to.join(name));
        if !source.is_file() {
            continue;
        }
        let linked = name.ends_with(".safetensors") && std::fs::hard_link(&source, &copy).is_ok();
        if !linked {
            std::fs::copy(&source, &copy).with_context(|| format!("cannot copy {}", source.display()))?;
        }
    }
    Ok(())
}
