//! The house rules that a machine can check.
#![allow(clippy::unwrap_used, missing_docs)]

mod imports;

use imports::Imports;
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
        let (below, name) = (path.display().to_string(), path.file_stem().unwrap_or_default().to_string_lossy());
        let in_crates = below.contains("/crates/") && below.contains("/src/");
        let mut in_tests = name.ends_with("tests") || below.contains("/tests/") || below.contains("/testing");
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
            // What others wrote is read by `core::disk` alone, which knows pipes, devices and files without an end.
            let reads = ["fs::read(", "fs::read_to_string(", "File::open("].iter().any(|call| code.contains(call));
            if reads && in_crates && !in_tests && !path.ends_with("core/src/disk.rs") && !may_be_unsafe {
                complain(format!("line {}: files are read by core::disk", i + 1));
            }
            in_tests |= code.contains("#[cfg(test)]");
            if line.ends_with(' ') {
                complain(format!("line {}: space at the end", i + 1));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Crates with circles of files. The list may only shrink.
const CIRCLES: [&str; 0] = [];

/// Which of our crates each may depend on. One that is not listed is a stage.
const MAY_USE: &[(&str, &[&str])] = &[
    ("align", &[]),
    ("alloc", &[]),
    ("emulator", &[]),
    ("ops", &[]),
    ("core", &["align", "ops"]),
    ("ranks", &["ops", "core"]),
    ("data", &["ops", "core"]),
    ("data-tools", &["core", "data"]),
    ("model", &["ops", "core"]),
    ("estimate", &["core", "model"]),
    ("stage", &["ops", "core", "data", "model"]),
    ("report", &["core", "data", "data-tools"]),
    ("study", &["core", "data", "report"]),
    ("publish", &["core", "data", "model"]),
    ("recipe", &["alloc", "ops", "core", "data", "stage", "pretrain"]),
    (
        "eval",
        &[
            "alloc", "ranks", "ops", "core", "data", "model", "stage", "estimate", "pretrain", "report", "study",
            "publish",
        ],
    ),
    ("xtask", &["align", "emulator"]),
];
const A_STAGE_MAY_USE: &[&str] = &["alloc", "ranks", "ops", "core", "data", "data-tools", "model", "estimate", "stage"];

/// The folders of the packages, with their names.
fn packages() -> Vec<(String, PathBuf)> {
    let crates = std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = crates.map(|dir| (dir.file_name().unwrap().to_str().unwrap().to_string(), dir)).collect();
    found.push(("xtask".into(), root().join("xtask")));
    found.sort();
    found
}

/// What each library and program of a package imports.
fn imports(package: &Path) -> Vec<Imports> {
    let workspace = root().canonicalize().unwrap();
    let source = package.canonicalize().unwrap().join("src");
    let mut roots = vec![source.join("lib.rs"), source.join("main.rs")];
    if let Ok(programs) = std::fs::read_dir(source.join("bin")) {
        roots.extend(programs.map(|entry| entry.unwrap().path()));
    }
    let roots = roots.into_iter().filter(|root| root.is_file());
    roots.map(|root| Imports::read(&root, &workspace)).collect()
}

/// The reader of imports is held to a small crate that has each of their forms.
#[test]
fn imports_of_every_form_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "lib.rs",
        "mod a; mod b; #[path = \"other.rs\"] mod c; mod d; pub use a::One; pub(crate) use b::*; fn shared() {}",
    );
    write("a.rs", "//! \"in a comment\" crate::d\npub struct One; #[cfg(test)] mod tests { use crate::b::Two; }");
    write("b/mod.rs", "mod deep; pub use deep::Two; #[cfg(not(test))] fn f() -> &'static str { \"text\" }");
    write("b/deep.rs", "use crate::One; pub enum Two { X }");
    write("other.rs", "use super::{One, Two::X, d::{self, Four}}; fn f() { crate::shared(); }");
    write("d.rs", "pub struct Four; fn f() { println!(\"{}\", crate::c::f()); } mod inner { use super::super::a; }");
    let read = Imports::read(&dir.path().canonicalize().unwrap().join("lib.rs"), &dir.path().canonicalize().unwrap());
    let edges: Vec<String> = read.edges().map(|(from, to, _)| format!("{} {}", from.display(), to.display())).collect();
    let expected = [
        "b/deep.rs a.rs",
        "d.rs a.rs",
        "d.rs other.rs",
        "other.rs a.rs",
        "other.rs b/deep.rs",
        "other.rs d.rs",
        "other.rs lib.rs",
    ];
    assert_eq!(edges, expected);
    assert_eq!(read.circles(), ["d.rs\n    imports other.rs (crate::c::f)\n    imports d.rs (super::d)"]);
    assert!(read.literals.concat().contains(&"text".to_string()), "{:?}", read.literals);
    assert!(!read.literals.concat().iter().any(|text| text.contains("comment")));
}

/// The compiler holds all crates but these three to it.
#[test]
fn crates_forbid_what_is_unsafe() {
    let mut complaints = Vec::new();
    for (_, package) in
        packages().into_iter().filter(|(name, _)| !["ops", "alloc", "emulator"].contains(&name.as_str()))
    {
        let source = package.join("src");
        let programs = std::fs::read_dir(source.join("bin")).into_iter().flatten().map(|entry| entry.unwrap().path());
        let roots = [source.join("lib.rs"), source.join("main.rs")].into_iter().chain(programs);
        for root in roots.filter(|root| root.is_file()) {
            if !std::fs::read_to_string(&root).unwrap().contains("#![forbid(unsafe_code)]") {
                complaints.push(format!("{} does not forbid unsafe_code", root.display()));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn files_import_one_another_in_no_circle() {
    let mut complaints = Vec::new();
    for (name, package) in packages() {
        let circles: Vec<String> = imports(&package).iter().flat_map(Imports::circles).collect();
        match (circles.is_empty(), CIRCLES.contains(&name.as_str())) {
            (true, true) => complaints.push(format!("{name} has no circle any more: take it off the list CIRCLES")),
            (false, false) => complaints.extend(circles),
            _ => {}
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// A kernel computes; it does not know what is recorded for the backward pass. The tape knows no op.
#[test]
fn kernels_and_the_tape_do_not_know_each_other() {
    if CIRCLES.contains(&"ops") {
        return simclr_tests::skipped("directions in ops", "its files stand in circles");
    }
    let package = root().join("crates/ops");
    let mut complaints = Vec::new();
    for (from, to, path) in imports(&package).iter().flat_map(Imports::edges) {
        let parts = |file: &Path| -> Vec<String> {
            let below = file.strip_prefix("crates/ops/src").unwrap().with_extension("");
            below.iter().map(|part| part.to_str().unwrap().to_string()).collect()
        };
        let (from_parts, to_parts) = (parts(from), parts(to));
        // `OP/cpu.rs`, `OP/gpu/step.rs`; not what all ops share of a GPU.
        let kernel = from_parts[1..].iter().any(|part| part == "cpu" || part == "gpu");
        let allowed = match (from_parts[0].as_str(), to_parts[0].as_str()) {
            (_, "tape") if kernel => false,
            ("tape", to) => ["tape", "tensor", "simd", "collective"].contains(&to),
            _ => true,
        };
        if !allowed {
            complaints.push(format!("{} imports {} ({path})", from.display(), to.display()));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn crates_depend_on_those_below_them() {
    let mut complaints = Vec::new();
    for (name, package) in packages() {
        let manifest = std::fs::read_to_string(package.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table).into_iter().flatten();
        let ours = dependencies.filter_map(|(name, _)| name.strip_prefix("simclr-"));
        let allowed = MAY_USE.iter().find(|(known, _)| *known == name).map_or(A_STAGE_MAY_USE, |(_, allowed)| allowed);
        let wrong = ours.filter(|other| !allowed.contains(other));
        complaints.extend(wrong.map(|other| format!("{name} depends on {other}; it may on {allowed:?}")));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn files_of_a_run_are_named_in_one_place() {
    let layout = Path::new("crates/core/src/run/layout.rs");
    let core = imports(&root().join("crates/core"));
    let own =
        core.iter().flat_map(|crate_| crate_.files.iter().zip(&crate_.literals)).find(|(file, _)| *file == layout);
    let names: Vec<&String> = own.unwrap().1.iter().filter(|name| name.contains('.') && !name.contains('{')).collect();
    assert!(names.len() > 8, "{names:?}");
    let mut complaints = Vec::new();
    for (_, package) in packages() {
        for program in imports(&package) {
            for (file, literals) in program.files.iter().zip(&program.literals).filter(|(file, _)| *file != layout) {
                let named = literals.iter().filter(|text| text.split('/').any(|part| names.iter().any(|n| *n == part)));
                complaints.extend(named.map(|text| format!("{}: \"{text}\" is a name of run::layout", file.display())));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Tables of README.md and docs/results.md are what `cargo xtask results` would write, and results of an earlier code say so.
#[test]
fn tables_of_results_are_those_of_their_files() {
    let complaints = simclr_study::results::complaints(&root()).unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
