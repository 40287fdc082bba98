//! Tables of README.md and docs/results.md, written from what was measured: `results/*.json` and `benches/runs`.
//!
//! A page holds tables between two lines, `<!-- results: NAME -->` and `<!-- end -->`; what stands there is made from files alone,
//! so that an edit by hand shows. See [`pages`] for the names.

mod add;
mod measured;
mod page;
mod speed;
mod studies;
mod text;

pub use add::{Where, add};
pub use measured::Measured;

use crate::Outcome;
use anyhow::{Context, Result, bail, ensure};
use page::Page;
use simclr_core::disk;
use simclr_core::run::NUMERICS;
use std::path::{Path, PathBuf};
use studies::Shown;

/// Where the files of results are, below the repository's root.
pub const FOLDER: &str = "results";
/// Where comparisons of speed are.
const SPEEDS: &str = "benches/runs";
/// The pages with tables.
const PAGES: [&str; 2] = ["README.md", "docs/results.md"];
/// The field of a file that says why it stands although the code computes other numbers by now.
const STALE: &str = "stale";

/// What a file of results holds.
#[derive(Clone, Debug)]
enum Kind {
    /// Runs of one experiment.
    Measured(Box<Measured>),
    /// A study at one scale.
    Study(Box<Outcome>),
}

/// A file of results.
#[derive(Clone, Debug)]
struct File {
    /// Its name without the ending.
    name: String,
    kind: Kind,
    /// Why it has not been measured again.
    stale: Option<String>,
}

impl File {
    fn read(path: &Path) -> Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut json = disk::read_json(path)?;
        let stale = match json.as_object_mut().and_then(|file| file.remove(STALE)) {
            None => None,
            Some(serde_json::Value::String(why)) if !why.trim().is_empty() => Some(why),
            Some(_) => bail!("{}: {STALE}: must say why it has not been measured again", path.display()),
        };
        let what = || format!("{}: not a file of results", path.display());
        let kind = if json.get("study").is_some() {
            let outcome: Outcome = serde_json::from_value(json).with_context(what)?;
            ensure!(
                outcome.missing.is_empty(),
                "{}: {} runs of the study have not finished",
                path.display(),
                outcome.missing.len()
            );
            let expected = format!("{}-{}", outcome.study, outcome.scale);
            ensure!(name == expected, "{}: must be called {expected}.json, after study and scale", path.display());
            Kind::Study(Box::new(outcome))
        } else {
            let measured: Measured = serde_json::from_value(json).with_context(what)?;
            measured.check().with_context(|| path.display().to_string())?;
            Kind::Measured(Box::new(measured))
        };
        Ok(Self { name, kind, stale })
    }

    fn numerics(&self) -> u32 {
        match &self.kind {
            Kind::Measured(measured) => measured.made.numerics,
            Kind::Study(outcome) => outcome.made.numerics,
        }
    }

    /// What stands below its table where the code has changed since.
    fn warning(&self) -> String {
        self.stale.as_ref().map_or_else(String::new, |why| format!("\n**Of an earlier code:** {why}\n"))
    }
}

/// All files of results, by name.
fn files(root: &Path) -> Result<Vec<File>> {
    let folder = root.join(FOLDER);
    let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    paths.iter().map(|path| File::read(path)).collect()
}

/// The table that a page asks for.
///
/// `results: NAME` is a file of `results`; `studies: claims` and `studies: tables` are all studies; `speed: FOLDER` and `gpu speed:
/// FOLDER` are folders of `benches/runs`.
fn table(root: &Path, files: &[File], kind: &str, name: &str) -> Result<String> {
    let studies = || {
        files.iter().filter_map(|file| match &file.kind {
            Kind::Study(outcome) => Some(Shown { outcome, warning: file.warning() }),
            Kind::Measured(_) => None,
        })
    };
    match kind {
        "results" => {
            let file = files.iter().find(|file| file.name == name);
            let file = file.with_context(|| format!("there is no {FOLDER}/{name}.json"))?;
            let table = match &file.kind {
                Kind::Measured(measured) => measured.table(),
                Kind::Study(outcome) => studies::whole(outcome),
            };
            Ok(table + &file.warning())
        }
        "studies" if name == "claims" => Ok(studies::claims(studies())),
        "studies" if name == "tables" => Ok(studies::tables(studies())),
        "speed" => speed::beside_torch(&root.join(SPEEDS).join(name)),
        "gpu speed" => speed::on_a_gpu(&root.join(SPEEDS).join(name)),
        _ => bail!(
            "nothing is called `{kind}: {name}`; there are results: FILE, studies: claims, studies: tables, speed: FOLDER and \
             gpu speed: FOLDER"
        ),
    }
}

/// The pages, each with its path, its text, and what it should be.
fn pages(root: &Path, files: &[File]) -> Result<Vec<(PathBuf, String, String)>> {
    let mut all = Vec::new();
    for page in PAGES {
        let path = root.join(page);
        let text = disk::read_small_text(&path, page::MOST)?;
        let read = Page::read(&text).with_context(|| page.to_string())?;
        let made = read.with(|kind, name| table(root, files, kind, name)).with_context(|| page.to_string())?;
        all.push((path, text, made));
    }
    Ok(all)
}

/// Writes the tables of all pages; gives the pages that changed.
///
/// # Errors
/// When a file cannot be read, or a page asks for a table that there is not.
pub fn write(root: &Path) -> Result<Vec<PathBuf>> {
    let mut changed = Vec::new();
    for (path, before, made) in pages(root, &files(root)?)? {
        if before != made {
            disk::write(&path, made.as_bytes())?;
            changed.push(path);
        }
    }
    Ok(changed)
}

/// What is wrong with pages and files: tables that were edited by hand, results of another code that do not say so, results that
/// no page shows. Empty where all is well.
///
/// # Errors
/// As [`write()`].
pub fn complaints(root: &Path) -> Result<Vec<String>> {
    let files = files(root)?;
    let mut complaints = Vec::new();
    let mut shown = String::new();
    for (path, before, made) in pages(root, &files)? {
        if before != made {
            let differs = before.lines().zip(made.lines()).find(|(a, b)| a != b);
            let (is, should) = differs.unwrap_or(("the end", "more"));
            let page = path.display();
            complaints.push(format!(
                "{page}: a table was edited by hand, or what it is made from has changed: run `cargo xtask results`\n  it says   \
                 {is}\n  should be {should}"
            ));
        }
        shown += &made;
    }
    for file in &files {
        let (File { name, kind, stale }, numerics) = (file, file.numerics());
        match (numerics == NUMERICS, stale) {
            (true, Some(_)) => complaints.push(format!(
                "{FOLDER}/{name}.json: is of this code (numerics {NUMERICS}) and has a field `{STALE}`: take it out"
            )),
            (false, None) => complaints.push(format!(
                "{FOLDER}/{name}.json: is of numerics {numerics}, the code is at {NUMERICS}: measure again (docs/results.md), or say \
                 in a field `{STALE}` why not"
            )),
            _ => {}
        }
        if matches!(kind, Kind::Measured(_)) && !shown.contains(&page::mark("results", name)) {
            complaints
                .push(format!("{FOLDER}/{name}.json: no page shows it; one needs {}", page::mark("results", name)));
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests;
