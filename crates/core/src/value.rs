//! Checks of single values, refused with the dotted path of their key.

use anyhow::{Result, bail};

/// # Errors
/// Unless `value` is finite and above 0.
pub fn positive(key: &str, value: f64) -> Result<()> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => bail!("{key} = {value}: must be finite and positive"),
    }
}

/// # Errors
/// Unless `value` is finite and at least 0.
pub fn not_negative(key: &str, value: f64) -> Result<()> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(()),
        false => bail!("{key} = {value}: must be finite and not negative"),
    }
}

/// # Errors
/// Unless `value` lies in 0..=1.
pub fn share(key: &str, value: f64) -> Result<()> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => bail!("{key} = {value}: must lie in 0..=1"),
    }
}

/// # Errors
/// When `count` is 0.
pub fn at_least_one(key: &str, count: usize) -> Result<()> {
    match count {
        0 => bail!("{key} = 0: must be at least 1"),
        _ => Ok(()),
    }
}
