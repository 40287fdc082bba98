//! The network of a run's best evaluation, kept in step with the state from which an interrupted run goes on.

use super::checkpoint;
use super::layout::{BEST, BEST_FACTS};
use crate::disk;
use anyhow::{Context, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The best evaluation of a run: the first of those with the highest accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Steps done then.
    pub step: u64,
    /// Accuracy on the test images, in 0..=1.
    pub top1: f64,
}

/// The folder itself, what it is written as, and where the one stays that the saved state tells of until another state does.
fn places(run: &Path) -> [PathBuf; 3] {
    [BEST.to_string(), format!(".{BEST}.partial"), format!(".{BEST}.before")].map(|name| run.join(name))
}

/// Writes the network of a better evaluation than all before into `best`.
///
/// # Errors
/// When the folder cannot be written.
pub fn keep(run: &Path, best: Best, tensors: &BTreeMap<String, Tensor>, config: &Json) -> Result<()> {
    let [place, partial, before] = places(run);
    remove(&partial)?;
    checkpoint::save_tensors(&partial, tensors, config)?;
    disk::write_json(&partial.join(BEST_FACTS), &json!(best))?;
    if place.exists() && before.exists() {
        // No state tells of this one.
        remove(&place)?;
    } else if place.exists() {
        rename(&place, &before)?;
    }
    rename(&partial, &place)
}

/// The saved state tells of what is in `best` now.
///
/// # Errors
/// When the folder cannot be changed.
pub fn settle(run: &Path) -> Result<()> {
    let [_, _, before] = places(run);
    remove(&before)
}

/// Brings back the network that the saved state tells of: `best` is that of a later step where a run was killed after a better
/// evaluation and before its next state. The run makes that evaluation again.
///
/// # Errors
/// When the folder cannot be changed.
pub fn rewind(run: &Path, best: Option<Best>) -> Result<()> {
    let [place, partial, before] = places(run);
    remove(&partial)?;
    let holds = |dir: &Path, best: Best| {
        let facts = disk::read_json(&dir.join(BEST_FACTS)).unwrap_or_default();
        facts["step"].as_u64() == Some(best.step)
    };
    match best {
        Some(best) if holds(&place, best) => remove(&before),
        Some(best) if holds(&before, best) => {
            remove(&place)?;
            rename(&before, &place)
        }
        Some(Best { step, .. }) => {
            tracing::warn!("{}: the network of the best evaluation, after step {step}, is gone", place.display());
            Ok(())
        }
        None => {
            remove(&place)?;
            remove(&before)
        }
    }
}

fn remove(dir: &Path) -> Result<()> {
    match dir.exists() {
        true => std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display())),
        false => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::run::layout::MODEL;
    use candle_core::Device;

    #[test]
    fn the_folder_follows_the_state() {
        let run = tempfile::tempdir().unwrap();
        let best = |step: u64| Best { step, top1: step as f64 / 10.0 };
        let keep = |step: u64| {
            let tensors = BTreeMap::from([("a".to_string(), Tensor::new(step as f32, &Device::Cpu).unwrap())]);
            keep(run.path(), best(step), &tensors, &json!({})).unwrap();
        };
        let held = || {
            let text = std::fs::read(run.path().join(BEST).join(MODEL)).ok()?;
            let facts = disk::read_json(&run.path().join(BEST).join(BEST_FACTS)).unwrap();
            let number = f32::from_le_bytes(text[text.len() - 4..].try_into().unwrap());
            assert_eq!(facts["step"].as_u64(), Some(number as u64), "the two are of one evaluation");
            facts["step"].as_u64()
        };
        // Killed before any state: the run begins anew.
        keep(2);
        keep(3);
        rewind(run.path(), None).unwrap();
        assert_eq!(held(), None);
        // A state tells of 3; two better ones follow, and the run is killed.
        keep(2);
        keep(3);
        settle(run.path()).unwrap();
        keep(5);
        keep(6);
        assert_eq!(held(), Some(6));
        rewind(run.path(), Some(best(3))).unwrap();
        assert_eq!(held(), Some(3));
        // Killed while the next was written, and between the two renames.
        std::fs::create_dir(run.path().join(".best.partial")).unwrap();
        rename(&run.path().join(BEST), &run.path().join(".best.before")).unwrap();
        rewind(run.path(), Some(best(3))).unwrap();
        assert_eq!(held(), Some(3));
        // Killed after the state and before it was settled.
        keep(5);
        rewind(run.path(), Some(best(5))).unwrap();
        assert_eq!(held(), Some(5));
        assert_eq!(std::fs::read_dir(run.path()).unwrap().count(), 1);
    }
}
