//! Which pictures a command line means: files, folders, patterns, a list on the standard input.

use anyhow::{Context, Result, ensure};
use globset::{GlobBuilder, GlobMatcher};
use simclr_core::{bounds, disk};
use simclr_data::access::{Source, Stored};
use simclr_data::source::walk::{PassedOver, walk};
use simclr_data::stable_name;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The word for a list of paths on the standard input.
const STDIN: &str = "-";

/// One picture of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it is called in the output, with `/` between its parts.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Pictures of the command line as a source of samples without labels.
pub struct Inputs(pub Vec<Input>);

impl Source for Inputs {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn label(&self, _: usize) -> Option<u32> {
        None
    }

    fn name(&self, index: usize) -> Option<&str> {
        Some(stable_name(&self.0[index].name))
    }

    fn place(&self, index: usize) -> String {
        self.0[index].path.display().to_string()
    }

    fn read(&self, index: usize) -> Result<Stored<'_>> {
        disk::read_small(&self.0[index].path, bounds::PICTURE).map(Stored::File)
    }
}

/// The pictures that `words` mean, in their order, those of a folder or pattern sorted by path, each once. A word is a
/// file, a folder (its whole tree), a pattern (`photos/*.jpg`, `**/*.png`) or `-`, for a list with a path a line that `stdin`
/// holds. Pictures are named as they were given; those of a single folder by their path below it.
///
/// # Errors
/// When a word means nothing that is there, a folder or pattern holds no picture, or a name is not UTF-8.
pub fn find(words: &[PathBuf], stdin: &mut dyn Read) -> Result<Vec<Input>> {
    ensure!(!words.is_empty(), "name pictures to look at: --images PATH, a file, a folder, a pattern or - for a list");
    let (mut found, mut passed) = (Vec::new(), PassedOver::default());
    let alone = words.len() == 1;
    for word in words {
        let text = word.to_str().with_context(|| format!("{} is not UTF-8", word.display()))?;
        if text == STDIN {
            let mut list = String::new();
            let mut stdin = stdin.take(bounds::TABLE + 1);
            stdin.read_to_string(&mut list).context("reading the list of pictures on the standard input")?;
            ensure!(
                list.len() as u64 <= bounds::TABLE,
                "the list of pictures on the standard input has more than {} bytes",
                bounds::TABLE
            );
            let lines = list.lines().map(|line| line.trim_end_matches('\r')).filter(|line| !line.trim().is_empty());
            for line in lines {
                // A file that is missing is told when it is read, as every other that cannot be.
                of_word(line, false, false, &mut found, &mut passed)?;
            }
        } else {
            of_word(text, alone, true, &mut found, &mut passed)?;
        }
    }
    ensure!(!found.is_empty(), "the list on the standard input names no picture");
    let mut seen = BTreeSet::new();
    let before = found.len();
    found.retain(|input| seen.insert(input.path.clone()));
    if before > found.len() {
        tracing::info!("{} pictures were named more than once", before - found.len());
    }
    if !passed.is_empty() {
        tracing::info!("passed over: {passed}");
    }
    Ok(found)
}

/// Adds what one word means. `below` leaves a folder's own path out of names; `strict` asks that a file be there.
fn of_word(text: &str, below: bool, strict: bool, found: &mut Vec<Input>, passed: &mut PassedOver) -> Result<()> {
    let path = Path::new(text);
    if path.is_dir() {
        let walked = walk(path)?;
        walked.expect_pictures(path)?;
        passed.add(&walked.passed_over);
        found.extend(walked.pictures.into_iter().map(|file| Input {
            path: path.join(&*file),
            name: if below { file.into() } else { joined(text, &file) },
        }));
    } else if path.exists() || !text.contains(['*', '?', '[', '{']) {
        ensure!(path.exists() || !strict, "{text}: no such file or folder");
        found.push(Input { name: text.replace('\\', "/"), path: path.into() });
    } else {
        let matching = of_pattern(text)?;
        ensure!(!matching.is_empty(), "{text}: no picture's path matches this pattern");
        found.extend(matching);
    }
    Ok(())
}

fn joined(folder: &str, file: &str) -> String {
    format!("{}/{file}", folder.trim_end_matches('/'))
}

/// Pictures whose path, or that of a folder above them, matches.
fn of_pattern(text: &str) -> Result<Vec<Input>> {
    let pattern =
        GlobBuilder::new(text).literal_separator(true).build().with_context(|| format!("{text} is no pattern"))?;
    let pattern: GlobMatcher = pattern.compile_matcher();
    // Folders that are named outright need no search.
    let plain = |part: &Component<'_>| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']);
    let base: PathBuf = Path::new(text).components().take_while(plain).collect();
    let root = if base.as_os_str().is_empty() { Path::new(".") } else { base.as_path() };
    ensure!(root.is_dir(), "{text}: {} is no folder", root.display());
    let prefix = base.to_str().with_context(|| format!("{text} is not UTF-8"))?.to_string();
    let whole = |file: &str| if prefix.is_empty() { file.into() } else { joined(&prefix, file) };
    let matches = |file: &str| {
        // The path itself, and each folder above it.
        let ends = file.match_indices('/').map(|(at, _)| at).chain([file.len()]);
        ends.into_iter().any(|end| pattern.is_match(whole(&file[..end])))
    };
    // What else lies there is no concern of a pattern.
    let files = walk(root)?.pictures.into_iter().filter(|file| matches(file));
    Ok(files.map(|file| Input { name: whole(&file), path: root.join(&*file) }).collect())
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

    fn names(words: &[PathBuf], list: &str) -> Result<Vec<String>> {
        Ok(find(words, &mut list.as_bytes())?.into_iter().map(|input| input.name).collect())
    }

    #[test]
    fn files_folders_trees_patterns_and_lists() {
        let dir = tree(&["x.png", "sub/y.PNG", "sub/deep/er/z.jpg", "sub/notes.txt", ".git/no.png", "odd.dat"]);
        let (at, text) = (dir.path(), |name: &str| dir.path().join(name).to_str().unwrap().to_string());
        assert_eq!(names(&[at.into()], "").unwrap(), ["sub/deep/er/z.jpg", "sub/y.PNG", "x.png"]);
        // One file, whatever it is called.
        assert_eq!(names(&[at.join("x.png")], "").unwrap(), [text("x.png")]);
        assert_eq!(names(&[at.join("odd.dat")], "").unwrap(), [text("odd.dat")]);
        // Several words: each as it was given, and no picture twice.
        let both = [at.join("x.png"), at.join("sub"), at.join("sub/y.PNG")];
        assert_eq!(names(&both, "").unwrap(), [text("x.png"), text("sub/deep/er/z.jpg"), text("sub/y.PNG")]);
        for (pattern, found) in [
            ("*.png", vec!["x.png"]),
            ("*", vec!["sub/deep/er/z.jpg", "sub/y.PNG", "x.png"]),
            ("**/*.jpg", vec!["sub/deep/er/z.jpg"]),
            ("s?b/*.PNG", vec!["sub/y.PNG"]),
            ("sub/d*", vec!["sub/deep/er/z.jpg"]),
            ("{x,sub/y}.[pP]*", vec!["sub/y.PNG", "x.png"]),
        ] {
            let expected: Vec<String> = found.into_iter().map(text).collect();
            assert_eq!(names(&[at.join(pattern)], "").unwrap(), expected, "{pattern}");
        }
        let list = format!("{}\r\n\n{}\n", text("x.png"), text("sub"));
        let listed = names(&["-".into()], &list).unwrap();
        assert_eq!(listed, [text("x.png"), text("sub/deep/er/z.jpg"), text("sub/y.PNG")]);
        // Missing, but in a list: the reader tells.
        assert_eq!(names(&["-".into()], "no/such.png\n").unwrap(), ["no/such.png"]);
    }

    #[test]
    fn mistakes_are_told() {
        let dir = tree(&["empty/notes.txt"]);
        for (word, part) in [
            (dir.path().join("no.png"), "no.png: no such file or folder"),
            (dir.path().join("empty"), "holds no picture: expected files that end in"),
            (dir.path().join("*.png"), "no picture's path matches"),
            (dir.path().join("no/*.png"), "is no folder"),
            (dir.path().join("[.png"), "is no pattern"),
        ] {
            let message = format!("{:#}", names(&[word], "").unwrap_err());
            assert!(message.contains(part), "{message}");
        }
        assert!(names(&["-".into()], "\n").unwrap_err().to_string().contains("names no picture"));
        assert!(names(&[], "").unwrap_err().to_string().contains("--images"));
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_hold_nobody_up() {
        let dir = tree(&["a/x.png"]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("a/broken.png")).unwrap();
        std::fs::create_dir(dir.path().join("folder.jpg")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(dir.path().join("pipe.png")).status();
        let found = find(&[dir.path().into()], &mut "".as_bytes()).unwrap();
        let names: Vec<&str> = found.iter().map(|input| input.name.as_str()).collect();
        assert_eq!(names, ["a/x.png"]);
        assert!(Inputs(found).read(0).is_ok());
        if made.is_ok_and(|status| status.success()) {
            let pipe = Inputs(vec![Input { name: "p".into(), path: dir.path().join("pipe.png") }]);
            assert!(format!("{:#}", pipe.read(0).unwrap_err()).contains("a named pipe"));
        }
    }
}
