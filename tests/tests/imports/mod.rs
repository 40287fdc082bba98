//! Which files of a crate import which others, read from their sources: `use` declarations and paths in the code.
//!
//! Tests are left out, and so is what a parent module says to declare its children: `mod x;`, `pub use x::Name;`. A name that
//! goes through a parent's `use` counts for the file that it leads to.

mod source;

use source::{Module, Use, modules};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One program or library, from its root file.
pub struct Imports {
    /// Its files, relative to the folder of the workspace.
    pub files: Vec<PathBuf>,
    /// The string literals of each file.
    pub literals: Vec<Vec<String>>,
    /// The path by which a file imports another, for each pair of numbers of files.
    edges: BTreeMap<(usize, usize), String>,
}

impl Imports {
    /// Reads the file `root` and all that it declares; `workspace` is what names of files are relative to.
    pub fn read(root: &Path, workspace: &Path) -> Self {
        let modules = modules(root);
        let mut files: Vec<PathBuf> = modules.iter().map(|module| module.file.clone()).collect();
        files.sort();
        files.dedup();
        let number = |module: &Module| files.binary_search(&module.file).unwrap();
        let mut literals = vec![Vec::new(); files.len()];
        let mut edges = BTreeMap::new();
        for (m, module) in modules.iter().enumerate() {
            literals[number(module)].extend(module.literals.iter().cloned());
            for path in &module.paths {
                for target in resolve(&modules, m, &path.segments, 0) {
                    if path.public && within(&modules, target, &module.file) {
                        continue;
                    }
                    edges.entry((number(module), number(&modules[target]))).or_insert(path.segments.join("::"));
                }
            }
        }
        edges.retain(|(from, to), _| from != to);
        let relative = |file: PathBuf| file.strip_prefix(workspace).map_or(file.clone(), Path::to_path_buf);
        Self { files: files.into_iter().map(relative).collect(), literals, edges }
    }

    /// Every import: from, to, and the path by which it is made.
    pub fn edges(&self) -> impl Iterator<Item = (&Path, &Path, &str)> {
        self.edges.iter().map(|((from, to), path)| (&*self.files[*from], &*self.files[*to], path.as_str()))
    }

    /// Circles of files, each told by its shortest way round; one of each knot.
    pub fn circles(&self) -> Vec<String> {
        let mut told = BTreeSet::new();
        let mut circles = Vec::new();
        for start in 0..self.files.len() {
            let Some(way) = self.way_back(start) else { continue };
            if way.iter().any(|file| told.contains(file)) {
                continue;
            }
            told.extend(way.iter().copied());
            let mut text = self.files[start].display().to_string();
            for (from, to) in way.iter().zip(way.iter().cycle().skip(1)) {
                text += &format!("\n    imports {} ({})", self.files[*to].display(), self.edges[&(*from, *to)]);
            }
            circles.push(text);
        }
        circles
    }

    /// The files of the shortest way from a file back to it.
    fn way_back(&self, start: usize) -> Option<Vec<usize>> {
        let next = |from: usize| self.edges.keys().filter(move |(a, _)| *a == from).map(|(_, b)| *b);
        let (mut before, mut round) = (BTreeMap::new(), vec![start]);
        while !round.is_empty() {
            let mut further = Vec::new();
            for from in round {
                for to in next(from) {
                    if to == start {
                        let mut way = vec![from];
                        while way[way.len() - 1] != start {
                            way.push(before[&way[way.len() - 1]]);
                        }
                        way.reverse();
                        return Some(way);
                    }
                    if before.get(&to).is_none() {
                        before.insert(to, from);
                        further.push(to);
                    }
                }
            }
            round = further;
        }
        None
    }
}

/// Whether a module is written in `file`, or declared below what is.
fn within(modules: &[Module], mut module: usize, file: &Path) -> bool {
    while modules[module].file != file && module != 0 {
        module = modules[module].parent;
    }
    modules[module].file == file
}

/// The modules that define what a path in module `from` leads to; none for what other crates define.
fn resolve(modules: &[Module], from: usize, path: &[String], depth: usize) -> Vec<usize> {
    let Some((first, rest)) = path.split_first() else { return vec![from] };
    match first.as_str() {
        "crate" => descend(modules, 0, rest, depth),
        "self" => descend(modules, from, rest, depth),
        "super" => {
            let mut up = modules[from].parent;
            let mut rest = rest;
            while let Some((_, more)) = rest.split_first().filter(|(first, _)| *first == "super") {
                (up, rest) = (modules[up].parent, more);
            }
            descend(modules, up, rest, depth)
        }
        first if !children(modules, from, first).is_empty() => descend(modules, from, path, depth),
        _ => Vec::new(),
    }
}

fn children(modules: &[Module], of: usize, name: &str) -> Vec<usize> {
    (0..modules.len()).filter(|m| *m != 0 && modules[*m].parent == of && modules[*m].name == name).collect()
}

/// As [`resolve`], of a path that begins in `module`.
fn descend(modules: &[Module], module: usize, path: &[String], depth: usize) -> Vec<usize> {
    let Some((name, rest)) = path.split_first() else { return vec![module] };
    let below = children(modules, module, name);
    if !below.is_empty() {
        return below.into_iter().flat_map(|child| descend(modules, child, rest, depth)).collect();
    }
    // Two modules may hand each other's names on; a real path is short.
    if depth > 8 || modules[module].defines.contains(name) {
        return vec![module];
    }
    for Use { segments, binds, .. } in &modules[module].paths {
        let through = match binds.as_deref() {
            Some("*") => segments.iter().chain(path).cloned().collect::<Vec<_>>(),
            Some(bound) if bound == name => segments.iter().chain(rest).cloned().collect(),
            _ => continue,
        };
        let found = resolve(modules, module, &through, depth + 1);
        // A glob leads on only where the name is there.
        let there = |target: &usize| binds.as_deref() != Some("*") || modules[*target].has(name);
        if !found.is_empty() && found.iter().all(there) {
            return found;
        }
    }
    vec![module]
}
