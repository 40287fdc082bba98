//! The pictures of a folder and all folders below it, and what else lies there.
//!
//! Nothing is opened: names and the types that the folders tell are enough, so that a pipe cannot hang it and a million
//! files need no million calls.

use crate::name::{PICTURES, is_picture};
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::FileType;
use std::path::{Path, PathBuf};

/// Folders are searched this deep.
const DEPTH: usize = 64;
/// Odd entries that are named; the others are counted.
const NAMED: usize = 5;
/// How files without an ending are counted.
const NO_ENDING: &str = "no ending";

/// What [`walk`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// The pictures: files whose names end as a picture's do. Paths below the folder, with `/` between their parts, sorted.
    pub pictures: Vec<Box<str>>,
    /// Everything else.
    pub passed_over: PassedOver,
}

/// What lay among pictures and is none. Names that start with a dot do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Files, by the ending of their names in small letters.
    pub endings: BTreeMap<String, usize>,
    /// Entries that are no files: broken links, pipes, links in a circle, folders that are named like pictures.
    pub odd: usize,
    /// Some of them, with what they are.
    pub some_odd: Vec<String>,
}

impl PassedOver {
    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.endings.is_empty() && self.odd == 0
    }

    /// Adds what lay elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (ending, count) in &other.endings {
            *self.endings.entry(ending.clone()).or_default() += count;
        }
        self.odd += other.odd;
        let room = NAMED.saturating_sub(self.some_odd.len());
        self.some_odd.extend(other.some_odd.iter().take(room).cloned());
    }

    /// One file that somebody else reads, such as a table of labels, counts no longer.
    pub(crate) fn forgive(&mut self, name: &str) {
        let ending = ending(name);
        if let Some(count) = self.endings.get_mut(&ending) {
            *count -= 1;
            if *count == 0 {
                self.endings.remove(&ending);
            }
        }
    }

    fn odd(&mut self, path: &Path, what: &str) {
        self.odd += 1;
        if self.some_odd.len() < NAMED {
            self.some_odd.push(format!("{} ({what})", path.display()));
        }
    }

    fn file(&mut self, name: &str) {
        *self.endings.entry(ending(name)).or_default() += 1;
    }
}

/// `txt 3, heic 2; 1 that is no file: x/b.jpg (a link that leads nowhere)`, most first.
impl std::fmt::Display for PassedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut endings: Vec<(&String, &usize)> = self.endings.iter().collect();
        endings.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let endings: Vec<String> = endings.iter().map(|(ending, count)| format!("{ending} {count}")).collect();
        f.write_str(&endings.join(", "))?;
        if self.odd > 0 {
            let (gap, are) = (if endings.is_empty() { "" } else { "; " }, if self.odd == 1 { "is" } else { "are" });
            write!(f, "{gap}{} that {are} no file: {}", self.odd, self.some_odd.join(", "))?;
            if self.odd > self.some_odd.len() {
                write!(f, ", and {} more", self.odd - self.some_odd.len())?;
            }
        }
        Ok(())
    }
}

/// What a name ends in, in small letters.
fn ending(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((_, ending)) if !ending.is_empty() => ending.to_lowercase(),
        _ => NO_ENDING.into(),
    }
}

/// The pictures in `root` and the folders below. Links are followed, but not in a circle; names that start with a dot are passed
/// over.
///
/// # Errors
/// When `root` is no folder, or a folder cannot be read. That there is no picture is none: see [`Walked::expect_pictures`].
pub fn walk(root: &Path) -> Result<Walked> {
    ensure!(root.is_dir(), "{} is no folder", root.display());
    let whole = root.canonicalize().with_context(|| format!("cannot look at {}", root.display()))?;
    let mut walker = Walker { found: Walked::default(), above: vec![whole] };
    walker.folder(root, "")?;
    let mut found = walker.found;
    found.pictures.sort_unstable();
    Ok(found)
}

impl Walked {
    /// Checks that there is a picture in `root`.
    ///
    /// # Errors
    /// When there is none; the message has what else lies there.
    pub fn expect_pictures(&self, root: &Path) -> Result<()> {
        if self.pictures.is_empty() {
            let others = match self.passed_over.is_empty() {
                true => String::new(),
                false => format!("; there are {}", self.passed_over),
            };
            bail!("{} holds no picture: expected files that end in {}{others}", root.display(), PICTURES.join(", "))
        }
        Ok(())
    }
}

struct Walker {
    found: Walked,
    /// The folders on the way to where it is, without links.
    above: Vec<PathBuf>,
}

impl Walker {
    fn folder(&mut self, dir: &Path, prefix: &str) -> Result<()> {
        let unreadable = || format!("cannot read the folder {}", dir.display());
        for entry in std::fs::read_dir(dir).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?;
            let (name, path) = (entry.file_name(), entry.path());
            let Some(name) = name.to_str() else {
                self.found.passed_over.odd(&path, "a name that is not UTF-8");
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            let kind = entry.file_type().with_context(|| format!("cannot look at {}", path.display()))?;
            match kind.is_symlink() {
                false => self.entry(&path, name, prefix, kind, false)?,
                true => match std::fs::metadata(&path) {
                    Ok(behind) => self.entry(&path, name, prefix, behind.file_type(), true)?,
                    Err(_) => self.found.passed_over.odd(&path, "a link that leads nowhere"),
                },
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, name: &str, prefix: &str, kind: FileType, linked: bool) -> Result<()> {
        if kind.is_file() {
            match is_picture(name) {
                true => self.found.pictures.push(format!("{prefix}{name}").into()),
                false => self.found.passed_over.file(name),
            }
            return Ok(());
        }
        if !kind.is_dir() {
            self.found.passed_over.odd(path, "a pipe, socket or device");
            return Ok(());
        }
        let whole = match (linked, self.above.last()) {
            (false, Some(above)) => above.join(name),
            _ => path.canonicalize().with_context(|| format!("cannot look at {}", path.display()))?,
        };
        if self.above.contains(&whole) {
            self.found.passed_over.odd(path, "a link to a folder that holds it");
            return Ok(());
        }
        if self.above.len() > DEPTH {
            self.found.passed_over.odd(path, "a folder that lies too deep");
            return Ok(());
        }
        let before = self.found.pictures.len();
        self.above.push(whole);
        self.folder(path, &format!("{prefix}{name}/"))?;
        self.above.pop();
        if is_picture(name) && self.found.pictures.len() == before {
            self.found.passed_over.odd(path, "a folder");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::testing::write_files;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path(), files.iter().copied());
        dir
    }

    fn pictures(walked: &Walked) -> Vec<&str> {
        walked.pictures.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn pictures_are_sorted_and_the_rest_is_counted() {
        let dir =
            tree(&["b/1.PNG", "a.jpg", "b/deep/er/2.webp", "notes.TXT", "b/x.txt", "README", "b/y.heic", ".git/x.png"]);
        let found = walk(dir.path()).unwrap();
        assert_eq!(pictures(&found), ["a.jpg", "b/1.PNG", "b/deep/er/2.webp"]);
        assert_eq!(found.passed_over.to_string(), "txt 2, heic 1, no ending 1");
        assert!(format!("{:#}", walk(&dir.path().join("a.jpg")).unwrap_err()).contains("a.jpg is no folder"));
        let none = tree(&["notes.txt"]);
        let message = walk(none.path()).unwrap().expect_pictures(none.path()).unwrap_err().to_string();
        assert!(message.contains("holds no picture") && message.ends_with("; there are txt 1"), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_named_and_never_opened() {
        use std::os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener};
        let dir = tree(&["a/1.jpg", "b.jpg/2.png", "real/3.jpg"]);
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("x.jpg")).unwrap();
        symlink("/nowhere", at("a/broken.jpg")).unwrap();
        symlink(dir.path(), at("a/loop")).unwrap();
        symlink("self.jpg", at("self.jpg")).unwrap();
        symlink(at("real"), at("linked")).unwrap();
        symlink(at("a/1.jpg"), at("one.jpg")).unwrap();
        let _socket = UnixListener::bind(at("socket.jpg")).unwrap();
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff.jpg")), "").unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe.png")).status().unwrap().success());
        let found = walk(dir.path()).unwrap();
        assert_eq!(pictures(&found), ["a/1.jpg", "b.jpg/2.png", "linked/3.jpg", "one.jpg", "real/3.jpg"]);
        assert_eq!((found.passed_over.odd, found.passed_over.some_odd.len()), (7, NAMED));
        let text = found.passed_over.to_string();
        assert!(text.starts_with("7 that are no file: ") && text.ends_with(", and 2 more"), "{text}");
        let alone = tree(&["x/1.jpg"]);
        symlink("..", alone.path().join("x/up")).unwrap();
        let found = walk(&alone.path().join("x")).unwrap();
        // The link leads above the folder, from where the folder is on the way once more.
        assert_eq!(pictures(&found), ["1.jpg"]);
        assert_eq!(found.passed_over.odd, 1, "{}", found.passed_over);
    }

    #[test]
    fn what_is_counted_adds_up() {
        let mut one = PassedOver { endings: [("txt".into(), 2)].into(), ..PassedOver::default() };
        one.add(&PassedOver {
            endings: [("txt".into(), 1), ("csv".into(), 1)].into(),
            odd: 1,
            some_odd: vec!["x".into()],
        });
        one.forgive("labels.CSV");
        assert_eq!(one.to_string(), "txt 3; 1 that is no file: x");
    }
}
