//! The files that are published.

use crate::card;
use crate::describe::describe;
use crate::facts::Facts;
use anyhow::{Context, Result};
use simclr_core::disk;
use simclr_core::hub::RepoId;
use simclr_core::run::layout::{CONFIG, EXPERIMENT, MODEL};
use std::path::{Path, PathBuf};

/// The networks in PyTorch, published beside the weights so that they load anywhere.
const PYTHON: &str = include_str!("../../../python/simclr_resnet.py");

/// One file of a repository.
pub struct Published {
    /// Its place there.
    pub path: &'static str,
    /// Its bytes.
    pub content: Content,
}

/// Where bytes come from.
pub enum Content {
    /// Written here.
    Text(String),
    /// A file, sent as it is.
    File {
        /// Where it is.
        path: PathBuf,
        /// SHA-256 of it.
        #[cfg_attr(not(feature = "hub"), expect(dead_code, reason = "an upload asks for it"))]
        sha256: String,
    },
}

impl Published {
    /// Its length in bytes.
    ///
    /// # Errors
    /// When the file is gone.
    pub fn size(&self) -> Result<u64> {
        match &self.content {
            Content::Text(text) => Ok(text.len() as u64),
            Content::File { path, .. } => {
                Ok(std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len())
            }
        }
    }

    /// Writes a copy below `dir`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
        let target = dir.join(self.path);
        match &self.content {
            Content::Text(text) => disk::write(&target, text.as_bytes()),
            Content::File { path, .. } => disk::atomically(&target, |partial| {
                std::fs::copy(path, partial).map(drop).with_context(|| format!("copying {}", path.display()))
            }),
        }
    }
}

/// Leaves out where things are on the author's machine: nobody's business, and of no use elsewhere.
fn forget_places(data: &mut toml::Table) {
    data.remove("dir");
    let lists = data.get_mut("lists").and_then(toml::Value::as_array_mut);
    for file in lists.into_iter().flatten().filter_map(|list| list.get_mut("file")) {
        let name = file.as_str().and_then(|file| Path::new(file).file_name()?.to_str().map(String::from));
        *file = toml::Value::String(name.unwrap_or_default());
    }
}

/// Everything that a repository of this checkpoint holds, in the order of the list that people see.
///
/// # Errors
/// When the run's configuration cannot be written out.
pub fn files(facts: &Facts, repo: &RepoId, license: &str) -> Result<Vec<Published>> {
    let text = |path, text| Published { path, content: Content::Text(text) };
    let weights = Content::File { path: facts.weights.clone(), sha256: facts.sha256.clone() };
    let mut files = vec![
        Published { path: MODEL, content: weights },
        text(CONFIG, format!("{:#}\n", describe(&facts.spec))),
        text("README.md", card::write(facts, repo, license)),
    ];
    // It knows no other network.
    if facts.spec.model.is_resnet() {
        files.push(text("simclr_resnet.py", PYTHON.to_string()));
    }
    if let Some(run) = &facts.run {
        let mut config = run.config.clone();
        if let Some(data) = config.get_mut("data").and_then(toml::Value::as_table_mut) {
            forget_places(data);
        }
        files.push(text(EXPERIMENT, toml::to_string(&config).context("writing the experiment")?));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_of_the_author_are_left_out() {
        let text =
            "dataset = \"folder\"\ndir = \"/home/me/x\"\nlists = [{ labels = 0.1, file = \"/home/me/1percent.txt\" }]";
        let mut data: toml::Table = text.parse().unwrap();
        forget_places(&mut data);
        let text = toml::to_string(&data).unwrap();
        assert!(!text.contains("home") && text.contains("1percent.txt") && text.contains("folder"), "{text}");
    }
}
