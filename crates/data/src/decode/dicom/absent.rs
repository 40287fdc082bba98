//! DICOM, for a binary that was built without it.

use crate::decode::format::Decoded;
use crate::decode::options::Wanted;
use anyhow::{Result, bail};

pub(super) fn size(_: &[u8]) -> Result<(usize, usize)> {
    bail!("DICOM needs the feature dicom, and this binary was built without it: `cargo build --features dicom`")
}

pub(super) fn decode(bytes: &[u8], _: &Wanted<'_>, _: &mut Vec<u8>) -> Result<Decoded> {
    let size = size(bytes)?;
    Ok(Decoded::upright(size))
}
