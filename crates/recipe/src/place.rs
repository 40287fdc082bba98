//! Where the pictures are, from the command line.

use crate::args::RecipeArgs;
use crate::facts::Place;
use crate::look::kind;
use anyhow::{Context, Result, ensure};
use simclr_core::config::{DataConfig, Truncated};
use std::path::{Path, PathBuf};

/// The place that the command line names, by absolute paths: the experiment may be run from anywhere.
///
/// # Errors
/// When something that it names is not there.
pub fn of(args: &RecipeArgs) -> Result<Place> {
    let dir = folder("--images", &args.images)?;
    let labels = args.labels.as_deref().map(|file| {
        ensure!(file.is_file(), "--labels {}: no such file", file.display());
        text("--labels", file)
    });
    let unlabeled = args.unlabeled.as_deref().map(|dir| text("--unlabeled", &folder("--unlabeled", dir)?));
    let (test, held_out) = match args.test.as_deref().map(|text| (text, text.parse::<f64>())) {
        None => (None, None),
        Some((_, Ok(share))) => {
            ensure!(share > 0.0 && share < 1.0, "--test {share}: a share to hold out lies between 0 and 1");
            (None, Some(share))
        }
        Some((name, Err(_))) => {
            // A folder below that of the pictures, or anywhere.
            let below = dir.join(name);
            let place = if below.is_dir() { below } else { folder("--test", Path::new(name))? };
            (Some(text("--test", &place)?), None)
        }
    };
    Ok(Place {
        dataset: kind(&dir)?.into(),
        dir: text("--images", &dir)?,
        labels: labels.transpose()?,
        unlabeled: unlabeled.transpose()?,
        test,
        channels: args.channels,
        held_out,
    })
}

fn folder(option: &str, dir: &Path) -> Result<PathBuf> {
    ensure!(dir.is_dir(), "{option} {}: no such folder", dir.display());
    Ok(dir.into())
}

fn text(option: &str, path: &Path) -> Result<String> {
    let path = std::path::absolute(path).with_context(|| format!("{option}: its absolute path"))?;
    let text = path.to_str().with_context(|| format!("{option} {}: its path is not UTF-8", path.display()))?;
    Ok(text.into())
}

/// What the experiment is called: as the folder of its pictures.
pub fn name(images: &Path) -> String {
    let path = std::path::absolute(images).unwrap_or_else(|_| images.into());
    path.file_name().map_or_else(|| "pictures".into(), |name| name.to_string_lossy().into_owned())
}

impl Place {
    /// The table `[data]` as far as it says where pictures and labels are.
    pub fn data(&self) -> DataConfig {
        let usual = DataConfig::new(&self.dataset, 1);
        DataConfig {
            dir: Some(self.dir.clone().into()),
            labels: self.labels.clone().map(PathBuf::from),
            unlabeled: self.unlabeled.clone().map(PathBuf::from),
            test: self.test.clone(),
            held_out: self.held_out.unwrap_or(usual.held_out),
            channels: self.channels,
            orientation: true,
            on_truncated: Truncated::Keep,
            ..usual
        }
    }
}
