//! One malformed input: what is made, which program gets it, and what it should say.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Makes a case's files in a folder of its own and gives the arguments.
pub type Make = Box<dyn Fn(&Path) -> Result<Vec<String>> + Send + Sync>;

/// What is done to a seed that was copied.
pub type Damage = std::sync::Arc<dyn Fn(&Path) -> Result<()> + Send + Sync>;

/// What a program must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// Exit with an error whose message holds each part.
    Refused(Vec<String>),
    /// Succeed; what it says on stderr holds each part.
    Accepted(Vec<String>),
    /// Either, for damage that may or may not matter; the message of a refusal holds each part.
    Either(Vec<String>),
}

/// Where the standard output leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To a file.
    Kept,
    /// To a pipe that nobody reads.
    Closed,
    /// To a disk that is full.
    Full,
}

/// One input.
pub struct Case {
    /// Which kind of input it is.
    pub family: &'static str,
    /// Unique within its family, and a name of a folder.
    pub name: String,
    /// The program that gets it.
    pub program: &'static str,
    /// Makes it.
    pub make: Make,
    /// What must come of it.
    pub expect: Expect,
    /// Where the standard output leads.
    pub output: Output,
}

impl Case {
    /// A case whose output is kept.
    pub fn new(
        family: &'static str,
        name: impl AsRef<str>,
        program: &'static str,
        expect: Expect,
        make: impl Fn(&Path) -> Result<Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        Self { family, name: slug(name.as_ref()), program, make: Box::new(make), expect, output: Output::Kept }
    }

    /// The same with another end of the output.
    pub fn with_output(self, output: Output) -> Self {
        Self { output, ..self }
    }
}

/// Refused, with these parts in the message.
pub fn refused(parts: &[&str]) -> Expect {
    Expect::Refused(parts.iter().map(ToString::to_string).collect())
}

/// Accepted, in silence or not.
pub fn accepted() -> Expect {
    Expect::Accepted(vec![])
}

/// Either, with these parts in the message of a refusal.
pub fn either(parts: &[&str]) -> Expect {
    Expect::Either(parts.iter().map(ToString::to_string).collect())
}

/// A name of a folder from any text.
fn slug(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._=+".contains(c) { c } else { '-' };
    let mut out: String = text.chars().map(plain).take(80).collect();
    while out.contains("--") {
        out = out.replace("--", "-");
    }
    out.trim_matches('-').to_string()
}

/// Words of a command line.
pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(String::from).collect()
}

/// Writes a file of a case.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// Copies a folder; what lies in it may be changed then.
///
/// # Errors
/// When a file cannot be copied.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}

/// What may stand in the place of a file and is none.
pub const ODD_FILES: &[&str] = &["fifo", "zero", "folder", "missing", "broken-link", "link-to-itself"];

/// Puts one of [`ODD_FILES`] in the place of a file.
///
/// # Errors
/// When it cannot be made.
pub fn odd_file(kind: &str, path: &Path) -> Result<()> {
    if path.exists() {
        std::fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    }
    match kind {
        "fifo" => {
            let made = std::process::Command::new("mkfifo").arg(path).status().context("mkfifo")?;
            anyhow::ensure!(made.success(), "mkfifo {}", path.display());
        }
        "zero" => link("/dev/zero".as_ref(), path)?,
        "folder" => std::fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?,
        "broken-link" => link("nowhere".as_ref(), path)?,
        "link-to-itself" => link(path.file_name().unwrap_or_default().as_ref(), path)?,
        _ => {}
    }
    Ok(())
}

#[cfg(unix)]
fn link(to: &Path, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(to, at).with_context(|| format!("linking {}", at.display()))
}

#[cfg(not(unix))]
fn link(_: &Path, at: &Path) -> Result<()> {
    anyhow::bail!("{}: links are made on Unix alone", at.display())
}

/// The folders that cases are made from: a small data set, and runs of each stage on it.
#[derive(Clone)]
pub struct Seeds {
    /// Where they lie.
    pub root: PathBuf,
}

impl Seeds {
    /// A file or folder of them.
    pub fn at(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The same as text.
    pub fn path(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    /// Reads a file of them.
    ///
    /// # Errors
    /// When it is missing.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.at(name);
        std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }
}

/// A run on a data set in the case's folder `data`, of two steps.
pub fn trained(
    seeds: &Seeds,
    name: &str,
    set: &[&str],
    expect: Expect,
    make: impl Fn(&Path) -> Result<()> + Send + Sync + 'static,
) -> Case {
    let seeds = seeds.clone();
    let set: Vec<String> = set.iter().map(ToString::to_string).collect();
    Case::new("pictures", name, "simclr-pretrain", expect, move |dir| {
        let data = dir.join("data");
        std::fs::create_dir_all(&data)?;
        make(&data)?;
        let config = seeds.path("hostile.toml");
        let mut line = words(&format!("--config {config} --device cpu --out {}", dir.join("out").display()));
        let own = format!("data.dir={}", data.display());
        set.iter()
            .chain([&own])
            .for_each(|pair| line.extend(["--set".to_string(), pair.replace("{data}", &data.display().to_string())]));
        Ok(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_folders() {
        assert_eq!(slug("a.b = \"x/y\"  -1e300"), "a.b-=-x-y-1e300");
        assert!(slug(&"long".repeat(100)).len() <= 80);
    }
}
