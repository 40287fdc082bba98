//! The house rules that a machine can check.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};

/// Most lines of a source file: past it, there is a seam to look for.
const MOST_LINES: usize = 480;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("golden") {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn sources_keep_the_house_rules() {
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "tests", "examples"] {
        sources(&root().join(folder), &mut files);
    }
    assert!(files.len() > 50, "only {} sources found", files.len());
    let mut complaints = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut complain = |what: String| complaints.push(format!("{}: {what}", path.display()));
        if !text.starts_with("//!") {
            complain("the first line must be a //! that says what the module does".into());
        }
        let lines = text.lines().count();
        if lines > MOST_LINES {
            complain(format!("{lines} lines, at most {MOST_LINES}"));
        }
        // Beside the operations: the allocator, and the emulated GPU of tests.
        let may_be_unsafe =
            ["ops", "alloc", "emulator"].iter().any(|home| path.components().any(|c| c.as_os_str() == *home));
        for (i, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let word = |w: &str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == w);
            // This file names the words that it looks for.
            if !path.ends_with("tidy.rs") {
                if word("unsafe") && !may_be_unsafe {
                    complain(format!("line {}: unsafe lives in ops, alloc and emulator alone", i + 1));
                }
                if ["todo", "unimplemented", "dbg"].iter().any(|w| code.contains(&format!("{w}!("))) {
                    complain(format!("line {}: unfinished", i + 1));
                }
            }
            if line.ends_with(' ') {
                complain(format!("line {}: space at the end", i + 1));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
