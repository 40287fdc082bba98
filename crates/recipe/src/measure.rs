//! How fast this machine pretrains a rung.

use crate::choose::{Rung, Speed};
use anyhow::Result;
use candle_core::Device;
use simclr_core::config::Config;
use simclr_pretrain::images_per_s;

/// Pretrains for a few steps, as `config` says, and leaves nothing behind.
///
/// # Errors
/// When the steps fail, such as for a lack of memory.
pub fn measure(config: &Config, device: &Device, rung: Rung) -> Result<Speed> {
    Ok(Speed { rung, images_per_s: images_per_s(config, device)? })
}
