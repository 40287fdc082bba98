//! The modules of a crate, and the paths that stand in each.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A module: a file, or a part of one.
pub struct Module {
    /// Its name; that of a root is empty.
    pub name: String,
    /// The number of the module that declares it; a root's own.
    pub parent: usize,
    /// Where it is written.
    pub file: PathBuf,
    /// What it defines.
    pub defines: BTreeSet<String>,
    /// The paths in it.
    pub paths: Vec<Use>,
    /// The strings in it.
    pub literals: Vec<String>,
    /// The folder of its children.
    folder: PathBuf,
    children: BTreeSet<String>,
}

/// A path.
pub struct Use {
    /// Its parts.
    pub segments: Vec<String>,
    /// The name that it brings into the module, `*` for all names, where it is that of a `use`.
    pub binds: Option<String>,
    /// Whether it hands the name on: `pub use`.
    pub public: bool,
}

impl Module {
    /// Whether the name may be used as one of this module's.
    pub fn has(&self, name: &str) -> bool {
        let bound = |path: &Use| path.binds.as_deref().is_some_and(|bound| bound == name || bound == "*");
        self.defines.contains(name) || self.children.contains(name) || self.paths.iter().any(bound)
    }
}

/// The modules of the crate whose root is the file `root`, that first.
pub fn modules(root: &Path) -> Vec<Module> {
    let folder = root.parent().unwrap().to_path_buf();
    let mut all = Vec::new();
    read(&mut all, String::new(), 0, root, folder);
    all
}

/// Reads a file as the module `name`, and its children.
fn read(all: &mut Vec<Module>, name: String, parent: usize, file: &Path, folder: PathBuf) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let tokens: TokenStream = text.parse().unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let module = add(all, name, parent, file.to_path_buf(), folder);
    walk(all, module, tokens, true);
}

fn add(all: &mut Vec<Module>, name: String, parent: usize, file: PathBuf, folder: PathBuf) -> usize {
    if let Some(parent) = all.get_mut(parent) {
        parent.children.insert(name.clone());
    }
    let (defines, children) = (BTreeSet::new(), BTreeSet::new());
    all.push(Module { name, parent, file, defines, paths: Vec::new(), literals: Vec::new(), folder, children });
    all.len() - 1
}

/// What stands at a place of the tokens.
fn word(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    }
}

fn is(tokens: &[TokenTree], at: usize, sign: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

fn colons(tokens: &[TokenTree], at: usize) -> bool {
    is(tokens, at, ':') && is(tokens, at + 1, ':')
}

fn group(tokens: &[TokenTree], at: usize, delimiter: Delimiter) -> Option<TokenStream> {
    match tokens.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group.stream()),
        _ => None,
    }
}

/// Collects what a module says. `outside` of functions, at the level of items, names are defined.
fn walk(all: &mut Vec<Module>, module: usize, tokens: TokenStream, outside: bool) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let (mut at, mut public, mut place) = (0, false, None);
    while at < tokens.len() {
        if is(&tokens, at, '#') {
            at += 1 + usize::from(is(&tokens, at + 1, '!'));
            let attribute = group(&tokens, at, Delimiter::Bracket).unwrap_or_default();
            at += 1;
            let text: String = attribute.to_string().split_whitespace().collect();
            let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            if words[0] == "cfg" && words.contains(&"test") && !text.contains("not(test)") {
                at = behind_item(&tokens, at);
            } else if let Some(path) = text.strip_prefix("path=\"") {
                place = Some(path.trim_end_matches('"').to_string());
            }
            continue;
        }
        let Some(ident) = word(&tokens, at) else {
            match &tokens[at] {
                TokenTree::Group(inner) => walk(all, module, inner.stream(), false),
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    all[module]
                        .literals
                        .extend(text.strip_prefix('"').and_then(|t| t.strip_suffix('"')).map(String::from));
                }
                _ => {}
            }
            at += 1;
            continue;
        };
        match ident.as_str() {
            "pub" => {
                public = true;
                let shown = group(&tokens, at + 1, Delimiter::Parenthesis).map(|inner| inner.to_string());
                let narrow = |inner: String| ["crate", "super", "self", "in"].iter().any(|w| inner.starts_with(w));
                at += 1 + usize::from(shown.is_some_and(narrow));
                continue;
            }
            "mod" if word(&tokens, at + 1).is_some() => {
                let name = word(&tokens, at + 1).unwrap();
                declare(all, module, name, group(&tokens, at + 2, Delimiter::Brace), place.take());
                at += 3;
            }
            "use" if !is(&tokens, at + 1, '<') => {
                let end = (at..tokens.len()).find(|i| is(&tokens, *i, ';')).unwrap_or(tokens.len());
                let mut found = Vec::new();
                tree(&tokens[at + 1..end], &[], &mut found);
                all[module].paths.extend(found.into_iter().map(|(segments, binds)| Use { segments, binds, public }));
                at = end + 1;
            }
            "fn" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "union" => {
                if outside {
                    all[module].defines.extend(word(&tokens, at + 1).filter(|name| name != "fn"));
                }
                at += 1;
            }
            _ => {
                let mut segments = vec![ident];
                let mut end = at + 1;
                while colons(&tokens, end)
                    && let Some(next) = word(&tokens, end + 2)
                {
                    segments.push(next);
                    end += 3;
                }
                if segments.len() > 1 {
                    all[module].paths.push(Use { segments, binds: None, public: false });
                }
                at = end;
            }
        }
        (public, place) = (false, None);
    }
}

/// The place behind the item that begins at `at`.
fn behind_item(tokens: &[TokenTree], mut at: usize) -> usize {
    while at < tokens.len() && !is(tokens, at, ';') && group(tokens, at, Delimiter::Brace).is_none() {
        at += 1;
    }
    at + 1
}

/// A module that is declared in `parent`: written there, or in a file of its own.
fn declare(all: &mut Vec<Module>, parent: usize, name: String, body: Option<TokenStream>, place: Option<String>) {
    let folder = all[parent].folder.clone();
    if let Some(body) = body {
        let (file, below) = (all[parent].file.clone(), folder.join(&name));
        let module = add(all, name, parent, file, below);
        return walk(all, module, body, true);
    }
    let below = folder.join(&name);
    let candidates = match place {
        Some(place) => vec![all[parent].file.parent().unwrap().join(place)],
        None => vec![folder.join(format!("{name}.rs")), below.join("mod.rs")],
    };
    let file = candidates.iter().find(|file| file.is_file()).unwrap_or_else(|| panic!("no file of mod {name}"));
    read(all, name, parent, &file.canonicalize().unwrap(), below);
}

/// The paths of a tree of `use`, each with the name that it brings.
fn tree(tokens: &[TokenTree], prefix: &[String], found: &mut Vec<(Vec<String>, Option<String>)>) {
    let mut segments = prefix.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(inner) = group(tokens, at, Delimiter::Brace) {
            let inner: Vec<TokenTree> = inner.into_iter().collect();
            for branch in inner.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',')) {
                if !branch.is_empty() {
                    tree(branch, &segments, found);
                }
            }
            return;
        }
        match word(tokens, at) {
            Some(ident) if ident == "as" => return found.push((segments, word(tokens, at + 1))),
            // `use a::{self}`: the module itself.
            Some(ident) if ident == "self" && !segments.is_empty() => {}
            Some(ident) => segments.push(ident),
            None if is(tokens, at, '*') => return found.push((segments, Some("*".into()))),
            None => {}
        }
        at += 1;
    }
    let name = segments.last().cloned();
    found.push((segments, name));
}
