//! Damage to what a killed run would go on from.

use super::moments::Draws;
use super::states;
use anyhow::{Context, Result};
use std::path::Path;

/// Flips one bit of the newest state in a run's folder, where there is an older one to go back to. Tells which.
///
/// # Errors
/// When the file cannot be read or written.
pub fn newest(dir: &Path, draws: &mut Draws) -> Result<Option<String>> {
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
    let name = newest.file_name().unwrap_or_default().to_string_lossy();
    Ok(Some(format!("bit {bit} of byte {at} of {name} flipped")))
}
