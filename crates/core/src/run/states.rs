//! The states from which an interrupted run goes on: the last few, each sealed by a checksum over all its bytes; the newest that
//! is whole is used.
//!
//! Each is a file of its own, named after its step, so that writing one touches no other.

use super::checkpoint::write_tensors_then;
use super::layout::{STATE, STATES, state_after};
use crate::{disk, tensors};
use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// States that are kept.
pub const KEPT: usize = 2;
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

/// Writes everything that a run needs to go on after `step` steps, as one file, in one rename; then removes states older than the
/// last [`KEPT`].
///
/// # Errors
/// When the folder cannot be written; all earlier states are there then.
pub fn save(dir: &Path, step: u64, tensors: &BTreeMap<String, Tensor>, facts: &Json) -> Result<()> {
    let mut facts = facts.clone();
    facts["step"] = json!(step);
    facts["sha256"] = json!("0".repeat(DIGITS));
    write_tensors_then(&dir.join(state_after(step)), tensors, ("state", &facts.to_string()), seal)?;
    // This one, and of those before it as many as are kept.
    for (_, path) in all(dir)?.into_iter().filter(|(of, _)| *of <= step).skip(KEPT) {
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
    let inner = || -> Result<Json> {
        let texts = tensors::metadata(&path)?;
        Ok(serde_json::from_str(texts.get("state").context("it holds no key \"state\"")?)?)
    };
    inner().map(Some).with_context(|| format!("{} is damaged", path.display()))
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

/// The header of a file that holds it whole.
fn header(file: &mut File) -> Result<Vec<u8>> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    ensure!(length < file.metadata()?.len(), "its header is longer than the file");
    let mut header = vec![0; usize::try_from(length)?];
    file.read_exact(&mut header)?;
    Ok(header)
}

/// Where the checksum stands in a file that begins with these bytes.
fn place(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(SEAL.len()).position(|window| window == SEAL)? + SEAL.len();
    (at + DIGITS <= bytes.len()).then_some(at)
}

/// Puts the checksum of a file, whose own digits are zeros, into it.
fn seal(path: &Path) -> Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let header = header(&mut file)?;
    let at = place(&header).context("a state has no place for its checksum")? + size_of::<u64>();
    let sum = disk::file_sha256(path)?;
    file.seek(SeekFrom::Start(at as u64))?;
    Ok(file.write_all(sum.as_bytes())?)
}

/// Whether the bytes of a file are those that were sealed. The digits are zeros afterwards.
fn unseal(bytes: &mut [u8]) -> Option<bool> {
    let length = u64::from_le_bytes(*bytes.first_chunk()?);
    let end = usize::try_from(length).ok()?.checked_add(size_of::<u64>())?;
    let at = place(bytes.get(..end)?)?;
    let found = String::from_utf8_lossy(&bytes[at..at + DIGITS]).into_owned();
    bytes[at..at + DIGITS].fill(b'0');
    Some(disk::sha256(bytes) == found)
}

fn read(path: &Path) -> Result<State> {
    let mut bytes = disk::read(path)?;
    let of_earlier_version = path.file_name().is_some_and(|name| name == STATE);
    match unseal(&mut bytes) {
        Some(true) => (),
        None if of_earlier_version => (),
        _ => bail!("{} is damaged: its {} bytes are not those that were written", path.display(), bytes.len()),
    }
    let (tensors, metadata) = tensors::parse(path, &bytes)?;
    let facts = metadata.get("state").with_context(|| format!("{} holds no key \"state\"", path.display()))?;
    let facts: Json = serde_json::from_str(facts).with_context(|| format!("the state in {}", path.display()))?;
    let step = facts["step"].as_u64().with_context(|| format!("{} holds no step", path.display()))?;
    Ok(State { step, tensors, facts })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use candle_core::Device;

    fn save_after(dir: &Path, step: u64) {
        let tensors = BTreeMap::from([("a".to_string(), Tensor::new(&[step as f32, 2.0], &Device::Cpu).unwrap())]);
        save(dir, step, &tensors, &json!({"seconds": 1.5})).unwrap();
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
        let tensors = BTreeMap::from([("a".to_string(), Tensor::new(1f32, &Device::Cpu).unwrap())]);
        let facts = json!({"step": 7}).to_string();
        super::super::checkpoint::write_tensors(&dir.path().join(STATE), &tensors, ("state", &facts)).unwrap();
        assert_eq!(step_of(dir.path()), Some(7));
        save_after(dir.path(), 8);
        assert_eq!((step_of(dir.path()), dir.path().join(STATE).exists()), (Some(8), true));
        save_after(dir.path(), 9);
        assert!(!dir.path().join(STATE).exists());
    }
}
