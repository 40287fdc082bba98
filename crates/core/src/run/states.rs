//! The states from which an interrupted run goes on: the last few, each sealed by a checksum over all its bytes; the newest that
//! is whole is used.
//!
//! Each is a file of its own, named after its step, so that writing one touches no other.

use super::layout::{STATE, STATES, state_after};
use crate::bounds;
use crate::disk::{self, Hash};
use crate::tensors::{self, FileTensors};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The key of a file's metadata that says what is beside the tensors.
const KEY: &str = "state";
/// Digits of a SHA-256.
const DIGITS: usize = 64;
/// What stands before the checksum in a file's header: JSON within JSON.
const SEAL: &[u8] = br#"\"sha256\":\""#;

/// A state that was read.
pub struct State {
    /// Steps done.
    pub step: u64,
    /// The tensors.
    pub tensors: BTreeMap<String, Tensor>,
    /// What is said beside them.
    pub facts: Json,
}

/// Writes everything that a run needs to go on after `step` steps, as one file, in one rename; then removes those older than the last
/// `kept` states.
///
/// # Errors
/// When the folder cannot be written; all earlier states are there then.
pub fn save(dir: &Path, step: u64, kept: usize, (tensors, facts): (&BTreeMap<String, Tensor>, &Json)) -> Result<()> {
    let mut facts = facts.clone();
    facts["step"] = json!(step);
    facts["sha256"] = json!("0".repeat(DIGITS));
    tensors::write(&dir.join(state_after(step)), tensors, (KEY, &facts.to_string()), seal)?;
    // This one, and of those before it as many as are kept.
    for (_, path) in all(dir)?.into_iter().filter(|(of, _)| *of <= step).skip(kept) {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Reads the newest state that is whole; `None` where there is none at all. One that is damaged is named in the log and, where
/// `owns` says that the folder is this process's to write, set aside under another name.
///
/// # Errors
/// When there are states, and all are damaged.
pub fn load(dir: &Path, owns: bool) -> Result<Option<State>> {
    let mut damaged: Vec<PathBuf> = Vec::new();
    for (step, path) in all(dir)? {
        match read(&path) {
            Ok(state) => {
                if !damaged.is_empty() {
                    tracing::warn!("going on from {}, after step {}", path.display(), state.step);
                    if owns {
                        damaged.iter().for_each(|path| set_aside(path));
                    }
                }
                return Ok(Some(state));
            }
            Err(error) => {
                tracing::warn!("the state after step {step} cannot be used: {error:#}");
                damaged.push(path);
            }
        }
    }
    match damaged.first() {
        None => Ok(None),
        Some(newest) => bail!(
            "{}: every saved state of this run is damaged; bring one back from a copy, or move these files away to begin anew",
            newest.display()
        ),
    }
}

/// What the newest state says beside its tensors, which are not held against the checksum; `None` where there is none.
///
/// # Errors
/// When it cannot be read.
pub fn facts(dir: &Path) -> Result<Option<Json>> {
    let Some((_, path)) = all(dir)?.into_iter().next() else { return Ok(None) };
    facts_in(&path, &tensors::metadata(&path)?).map(Some)
}

/// The names of a run's states, the newest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn names(dir: &Path) -> Result<Vec<String>> {
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(all(dir)?.into_iter().filter_map(|(_, path)| name(path)).collect())
}

/// All states with their steps, the newest first. One of an earlier version, [`STATE`], comes last.
fn all(dir: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    if !dir.is_dir() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry.with_context(|| format!("cannot read {}", dir.display()))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let step = name.strip_prefix(STATES).and_then(|rest| rest.strip_suffix(".safetensors")?.parse().ok());
        match step {
            Some(step) if name == state_after(step) => found.push((step, path)),
            _ if name == STATE => found.push((0, path)),
            _ => (),
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found)
}

fn set_aside(path: &Path) {
    let aside = path.with_extension("damaged");
    match std::fs::rename(path, &aside) {
        Ok(()) => tracing::warn!("{} is now {}", path.display(), aside.display()),
        Err(error) => tracing::warn!("{} stays where it is: {error}", path.display()),
    }
}

/// What a file's seal says, and what the file comes to.
struct Sealed {
    /// Where the digits stand in the file.
    at: u64,
    /// The digits.
    said: Vec<u8>,
    /// The SHA-256 of all bytes, with zeros for those digits.
    found: String,
}

/// Looks at a file's seal; `None` where it has none.
fn sealed(path: &Path) -> Result<Option<Sealed>> {
    let mut file = disk::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let size = u64::from_le_bytes(length);
    ensure!(size <= file.metadata()?.len().min(bounds::SMALL_FILE), "its header is said to have {size} bytes");
    let mut header = vec![0; usize::try_from(size)?];
    file.read_exact(&mut header)?;
    let Some(place) = header.windows(SEAL.len()).position(|window| window == SEAL) else { return Ok(None) };
    let place = place + SEAL.len();
    let Some(digits) = header.get_mut(place..place + DIGITS) else { return Ok(None) };
    let said = digits.to_vec();
    digits.fill(b'0');
    let mut hash = Hash::new();
    hash.add(&length);
    hash.add(&header);
    hash.add_rest(&mut file)?;
    Ok(Some(Sealed { at: (length.len() + place) as u64, said, found: hash.finish() }))
}

/// Puts the checksum of a file into it.
fn seal(path: &Path) -> Result<()> {
    let Sealed { at, found, .. } = sealed(path)?.context("a state has no place for its checksum")?;
    let mut file = File::options().write(true).open(path)?;
    file.seek(SeekFrom::Start(at))?;
    Ok(file.write_all(found.as_bytes())?)
}

fn read(path: &Path) -> Result<State> {
    let of_earlier_version = path.file_name().is_some_and(|name| name == STATE);
    let is_whole = match sealed(path).with_context(|| format!("{} is damaged", path.display()))? {
        Some(Sealed { said, found, .. }) => said == found.as_bytes(),
        None => of_earlier_version,
    };
    ensure!(is_whole, "{} is damaged: its bytes are not those that were written", path.display());
    let FileTensors { tensors, metadata, .. } = tensors::read(path)?;
    let facts: Json = facts_in(path, &metadata)?;
    let step = facts["step"].as_u64().with_context(|| format!("{} holds no step", path.display()))?;
    Ok(State { step, tensors, facts })
}

fn facts_in(path: &Path, metadata: &BTreeMap<String, String>) -> Result<Json> {
    let facts = metadata.get(KEY).with_context(|| format!("{} holds no key \"{KEY}\"", path.display()))?;
    serde_json::from_str(facts).with_context(|| format!("the key \"{KEY}\" in {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Device;

    fn save_after(dir: &Path, step: u64) {
        let tensors = BTreeMap::from([("a".to_string(), Tensor::new(&[step as f32, 2.0], &Device::Cpu).unwrap())]);
        save(dir, step, 2, (&tensors, &json!({"seconds": 1.5}))).unwrap();
    }

    fn step_of(dir: &Path) -> Option<u64> {
        load(dir, false).unwrap().map(|state| state.step)
    }

    #[test]
    fn the_last_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert!(step_of(dir.path()).is_none() && facts(dir.path()).unwrap().is_none());
        for step in [3, 20, 100] {
            save_after(dir.path(), step);
        }
        assert_eq!(names(dir.path()).unwrap(), ["state-100.safetensors", "state-20.safetensors"]);
        assert_eq!(facts(dir.path()).unwrap().unwrap()["step"], 100);
        let State { step, tensors, facts } = load(dir.path(), true).unwrap().unwrap();
        assert_eq!((step, facts["seconds"].as_f64()), (100, Some(1.5)));
        assert_eq!(tensors["a"].to_vec1::<f32>().unwrap(), [100.0, 2.0]);
    }

    #[test]
    fn one_flipped_bit_anywhere_is_seen_and_the_one_before_is_used() {
        let dir = tempfile::tempdir().unwrap();
        [1, 2].iter().for_each(|step| save_after(dir.path(), *step));
        let newest = dir.path().join("state-2.safetensors");
        let whole = std::fs::read(&newest).unwrap();
        for bit in 0..8 * whole.len() {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&newest, &bytes).unwrap();
            assert_eq!(step_of(dir.path()), Some(1), "bit {bit}");
        }
        for length in [0, 7, 8, 40, whole.len() - 1] {
            std::fs::write(&newest, &whole[..length]).unwrap();
            assert_eq!(step_of(dir.path()), Some(1), "{length} bytes");
        }
        std::fs::write(&newest, &whole).unwrap();
        assert_eq!(step_of(dir.path()), Some(2));
        // Set aside, and made again.
        std::fs::write(&newest, &whole[1..]).unwrap();
        assert_eq!(load(dir.path(), true).unwrap().unwrap().step, 1);
        assert!(!newest.exists() && newest.with_extension("damaged").exists());
        save_after(dir.path(), 2);
        assert_eq!(step_of(dir.path()), Some(2));
        for path in ["state-1.safetensors", "state-2.safetensors"] {
            std::fs::write(dir.path().join(path), "").unwrap();
        }
        let message = load(dir.path(), true).err().unwrap().to_string();
        assert!(message.contains("state-2.safetensors: every saved state"), "{message}");
    }

    #[test]
    fn a_state_of_an_earlier_version_goes_on_and_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let held = BTreeMap::from([("a".to_string(), Tensor::new(1f32, &Device::Cpu).unwrap())]);
        let facts = json!({"step": 7}).to_string();
        tensors::write(&dir.path().join(STATE), &held, (KEY, &facts), |_| Ok(())).unwrap();
        assert_eq!(step_of(dir.path()), Some(7));
        save_after(dir.path(), 8);
        assert_eq!((step_of(dir.path()), dir.path().join(STATE).exists()), (Some(8), true));
        save_after(dir.path(), 9);
        assert!(!dir.path().join(STATE).exists());
    }
}
