//! Draws the sheet of the `textures` dataset: `cargo run -p simclr-data-tools --example contact_sheet -- docs/textures.png`.

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "docs/textures.png".into());
    let png = simclr_data_tools::sheet::textures_sheet()?;
    std::fs::write(&path, png).with_context(|| format!("cannot write {path}"))?;
    simclr_core::cli::say(format_args!("{path}"));
    Ok(())
}
