//! Damage to what a killed run would go on from, and whether the run has said that it saw it.

use super::moments::Draws;
use crate::layout;
use anyhow::{Context, Result};
use std::fmt;
use std::path::{Path, PathBuf};

/// A bit that was flipped.
pub struct Flip {
    /// The state's file.
    name: String,
    byte: usize,
    bit: usize,
}

impl fmt::Display for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bit {} of byte {} of {} flipped", self.bit, self.byte, self.name)
    }
}

/// Flips one bit of the newest state in a run's folder, where there is an older one to go back to. Tells which.
///
/// # Errors
/// When the file cannot be read or written.
pub fn newest(dir: &Path, draws: &mut Draws) -> Result<Option<Flip>> {
    let found = states(dir);
    let [newest, _, ..] = found.as_slice() else { return Ok(None) };
    let mut bytes = std::fs::read(newest).with_context(|| format!("reading {}", newest.display()))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    // One time in four the header, which is a small part of the whole.
    let within = if draws.below(4) == 0 { bytes.len().min(2000) } else { bytes.len() };
    let (at, bit) = (draws.below(within), draws.below(8));
    bytes[at] ^= 1 << bit;
    std::fs::write(newest, &bytes).with_context(|| format!("writing {}", newest.display()))?;
    let name = newest.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Some(Flip { name, byte: at, bit }))
}

/// The damaged states of which the log of their stage says nothing.
///
/// # Errors
/// When a log cannot be read.
pub fn unnoticed<'a>(flips: impl Iterator<Item = (&'a str, &'a Flip)>, out: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (job, flip) in flips {
        let log = out.join(layout::LOGS).join(job.replace('/', "-") + ".log");
        let text = std::fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
        let told = text.lines().any(|line| line.contains("cannot be used") && line.contains(&flip.name));
        found.extend((!told).then(|| format!("{job}: {flip}, and the log does not tell of it")));
    }
    Ok(found)
}

/// The state files of a run, the newest first.
fn states(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_state = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(layout::STATES) && name.ends_with(".safetensors")
    };
    let mut found: Vec<_> = entries.filter(is_state).collect();
    found.sort_by_key(|path| std::cmp::Reverse(path.metadata().and_then(|meta| meta.modified()).ok()));
    found
}
