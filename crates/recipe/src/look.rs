//! What a person's pictures are: opened as a run would open them, counted, some of them decoded.

use crate::choose::Pictures;
use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use simclr_core::config::DataConfig;
use simclr_core::disk;
use simclr_data::Dataset;
use std::fmt::Write;
use std::path::Path;

/// Pictures that are decoded, evenly spread, to learn of sizes and colours.
const DECODED: usize = 200;

/// The kind of dataset that a folder holds: shards where it has any, else pictures.
///
/// # Errors
/// When the folder cannot be read.
pub fn kind(dir: &Path) -> Result<&'static str> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("--images: cannot read the folder {}", dir.display()))?;
    let mut kind = "folder";
    for entry in entries {
        let path = entry.with_context(|| format!("--images: cannot read the folder {}", dir.display()))?.path();
        match path.extension().and_then(|end| end.to_str()) {
            Some("tar") => kind = "tar",
            Some("parquet") => return Ok("parquet"),
            _ => {}
        }
    }
    Ok(kind)
}

/// What was seen.
pub struct Seen {
    /// Counts, side and channels.
    pub pictures: Pictures,
    /// Which pictures have which label, as one number: other labels have another one.
    pub labels: String,
}

/// Looks at an open dataset; `data` is what it was opened by. Where `data` asks for three channels and all pictures
/// turn out to be gray, one channel is enough.
///
/// # Errors
/// When no picture can be decoded.
pub fn look(dataset: &Dataset, data: &DataConfig) -> Result<Seen> {
    let train = &dataset.train;
    let count = DECODED.min(train.len());
    let seen = |i: usize| {
        train.with(i * train.len() / count, |image| {
            let gray = image.channels == 3 && image.data.chunks_exact(3).all(|p| p[0] == p[1] && p[1] == p[2]);
            (image.height.min(image.width), gray)
        })
    };
    let seen = (0..count).into_par_iter().map(seen).collect::<Result<Vec<_>>>()?;
    let (mut sides, grays): (Vec<usize>, Vec<bool>) = seen.into_iter().flatten().unzip();
    ensure!(!sides.is_empty(), "none of the {count} pictures that were looked at can be decoded");
    sides.sort_unstable();
    let channels = if data.channels.is_none() && grays.iter().all(|gray| *gray) && train.channels() == 3 {
        1
    } else {
        train.channels()
    };
    let pictures = Pictures {
        train: train.len(),
        labeled: train.labeled(),
        test: dataset.test.labeled(),
        classes: dataset.classes.len(),
        side: sides[sides.len() / 2],
        channels,
    };
    Ok(Seen { pictures, labels: labels(dataset, data)? })
}

/// SHA-256 over who is labeled what, in the order of the dataset, of both splits.
fn labels(dataset: &Dataset, data: &DataConfig) -> Result<String> {
    let mut text = String::new();
    for split in [&dataset.train, &dataset.test] {
        for i in (0..split.len()).filter(|i| split.label(*i).is_some()) {
            let class = split.label(i).and_then(|label| dataset.classes.get(label as usize));
            let place = split.place(i);
            let name = data.dir.as_deref().and_then(|dir| Path::new(&place).strip_prefix(dir).ok());
            let name = name.map_or(place.clone(), |name| name.display().to_string());
            writeln!(text, "{name}\t{}", class.map_or("", String::as_str))?;
        }
        text.push('\n');
    }
    Ok(disk::sha256(text.as_bytes()))
}
