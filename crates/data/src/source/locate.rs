//! Which files of a folder or a hub's dataset make a split: patterns, and the usual names.

use super::split_names;
use anyhow::{Context, Result, bail, ensure};
use globset::GlobBuilder;
use simclr_core::config::DataConfig;
use std::path::Path;

/// Files that one pattern may stand for.
const MOST_FILES: u64 = 1 << 20;
/// Folders are searched this deep for files without a pattern.
const DEPTH: usize = 5;

/// The two splits of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    Train,
    Test,
}

impl Split {
    fn key(self) -> &'static str {
        match self {
            Self::Train => "data.train",
            Self::Test => "data.test",
        }
    }

    /// Words that a path of the split holds, the best ones first.
    fn words(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Train => &[split_names::TRAIN],
            Self::Test => &split_names::TEST,
        }
    }
}

/// The names that a pattern with ranges such as `{000..127}` stands for, in order. Numbers keep the width of the first.
///
/// # Errors
/// When a brace is alone, holds something else than two numbers, or there are too many names.
pub fn expand(pattern: &str) -> Result<Vec<String>> {
    let Some((head, rest)) = pattern.split_once('{') else {
        ensure!(!pattern.contains('}'), "\"{pattern}\": a }} without its {{");
        return Ok(vec![pattern.into()]);
    };
    ensure!(!head.contains('}'), "\"{pattern}\": a }} without its {{");
    let (range, tail) = rest.split_once('}').with_context(|| format!("\"{pattern}\": a {{ without its }}"))?;
    let expected = || format!("{{{range}}}: expected two numbers that ascend, such as {{000..127}}");
    let (first, last) = range.split_once("..").with_context(expected)?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| digits).with_context(expected)
    };
    let (from, to) = (number(first)?, number(last)?);
    ensure!(from <= to, expected());
    let tails = expand(tail)?;
    let count = (to - from).checked_add(1).and_then(|n| n.checked_mul(tails.len() as u64));
    ensure!(count.is_some_and(|n| n <= MOST_FILES), "{{{range}}}: more than {MOST_FILES} names");
    let width = first.len();
    Ok((from..=to).flat_map(|n| tails.iter().map(move |tail| format!("{head}{n:0width$}{tail}"))).collect())
}

/// What a pattern without ranges stands for: `*` and `?` within one folder's name, `[ab]`.
///
/// # Errors
/// When it is malformed.
fn matcher(pattern: &str) -> Result<impl Fn(&str) -> bool> {
    // Most are names of single files, and there may be a million of them.
    let glob = match pattern.contains(['*', '?', '[']) {
        true => {
            Some(GlobBuilder::new(pattern).literal_separator(true).backslash_escape(false).build()?.compile_matcher())
        }
        false => None,
    };
    let pattern = pattern.to_string();
    Ok(move |name: &str| glob.as_ref().map_or_else(|| pattern == name, |glob| glob.is_match(name)))
}

/// The files of a split among `names` (relative paths, sorted). Without a pattern those with the split's usual words in
/// their path; training files are all where no path holds a word of either split.
///
/// # Errors
/// When a pattern is malformed or names files that are not there, or no training file is found.
pub(crate) fn select(names: &[String], pattern: Option<&str>, split: Split) -> Result<Vec<String>> {
    let key = split.key();
    if let Some(pattern) = pattern {
        let mut found = Vec::new();
        for one in expand(pattern).context(key)? {
            let fits = matcher(&one).with_context(|| format!("{key} = \"{pattern}\""))?;
            let matching: Vec<&String> = names.iter().filter(|name| fits(name)).collect();
            ensure!(!matching.is_empty(), "{key} = \"{pattern}\": there is no {one}");
            found.extend(matching.into_iter().cloned());
        }
        return Ok(found);
    }
    let with = |words: &[&str]| -> Vec<String> {
        let holds = |name: &&String| {
            let name = name.to_ascii_lowercase();
            name.split(|c: char| !c.is_alphanumeric()).any(|part| words.contains(&part))
        };
        names.iter().filter(holds).cloned().collect()
    };
    let found = split.words().iter().map(|words| with(words)).find(|found| !found.is_empty()).unwrap_or_default();
    if split == Split::Train && found.is_empty() {
        let others = Split::Test.words().iter().any(|words| !with(words).is_empty());
        ensure!(!others, "no file has \"train\" in its name: name the training files by data.train");
        return Ok(names.to_vec());
    }
    Ok(found)
}

/// The folder of a dataset of files.
///
/// # Errors
/// When the configuration names none, or a dataset of the hub.
pub(crate) fn folder(config: &DataConfig) -> Result<&Path> {
    let name = &config.dataset;
    ensure!(config.hub.is_none(), "data.hub is for data.dataset = \"parquet\", not \"{name}\"");
    config.dir.as_deref().with_context(|| format!("data.dataset = \"{name}\" needs data.dir, the folder of its files"))
}

/// Files below `dir` that end in `.ending`, as sorted relative paths.
///
/// # Errors
/// When the folder cannot be read, or holds none.
pub(crate) fn list(dir: &Path, ending: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    collect(dir, "", &format!(".{ending}"), 0, &mut names)?;
    ensure!(!names.is_empty(), "data.dir = {}: no .{ending} file there", dir.display());
    names.sort_unstable();
    Ok(names)
}

fn collect(dir: &Path, prefix: &str, ending: &str, depth: usize, names: &mut Vec<String>) -> Result<()> {
    let unreadable = || format!("cannot read the folder {}", dir.display());
    for entry in std::fs::read_dir(dir).with_context(unreadable)? {
        let entry = entry.with_context(unreadable)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            if depth < DEPTH {
                collect(&path, &format!("{prefix}{name}/"), ending, depth + 1, names)?;
            }
        } else if name.ends_with(ending) {
            names.push(format!("{prefix}{name}"));
        } else if name.ends_with(&format!("{ending}.gz")) {
            bail!("{} is compressed, and parts of it cannot be read alone: unpack it to {ending}", path.display())
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_expand_in_order_and_keep_their_width() {
        assert_eq!(expand("a-{08..11}.tar").unwrap(), ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]);
        assert_eq!(expand("{0..1}{7..7}").unwrap(), ["07", "17"]);
        assert_eq!(expand("{998..1001}").unwrap(), ["998", "999", "1000", "1001"]);
        assert_eq!(expand("plain").unwrap(), ["plain"]);
        for wrong in ["{", "}", "a}{0..1}", "{0..}", "{..1}", "{1..0}", "{0-1}", "{+1..2}", "{a..b}", "{0..1}}"] {
            assert!(expand(wrong).is_err(), "{wrong}");
        }
        let huge = ["{0..18446744073709551615}", "{0..99999999999999999999}", "{0..9999}{0..9999}"];
        assert!(huge.iter().all(|pattern| expand(pattern).is_err()));
    }

    #[test]
    fn stars_stay_within_a_folder() {
        let fits = |pattern: &str, name: &str| matcher(pattern).unwrap()(name);
        assert!(fits("data/train-*.parquet", "data/train-00000-of-00002.parquet"));
        assert!(fits("*", "") && fits("*/x", "a/x") && fits("a*c*", "abcd") && fits("**", "a"));
        assert!(fits("a?c", "abc") && fits("s-[01].tar", "s-1.tar") && !fits("s-[01].tar", "s-2.tar"));
        assert!(matcher("s-[01.tar").is_err());
        assert!(!fits("*", "a/x") && !fits("a*", "ba") && !fits("a", "ab") && !fits("*b", "a"));
    }

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    #[test]
    fn splits_are_found_by_their_words() {
        let hub = names("data/test-0.parquet data/train-0.parquet data/train-1.parquet data/validation-0.parquet");
        assert_eq!(select(&hub, None, Split::Train).unwrap(), ["data/train-0.parquet", "data/train-1.parquet"]);
        assert_eq!(select(&hub, None, Split::Test).unwrap(), ["data/validation-0.parquet"], "before the test split");
        let bare = names("0.tar 1.tar");
        assert_eq!(select(&bare, None, Split::Train).unwrap(), bare);
        assert!(select(&bare, None, Split::Test).unwrap().is_empty());
        assert!(select(&names("val-0.tar other.tar"), None, Split::Train).is_err());
        assert!(select(&names("restrain.tar x.tar"), None, Split::Train).is_ok(), "a word is a whole word");
        assert_eq!(select(&bare, Some("{1..1}.tar"), Split::Test).unwrap(), ["1.tar"]);
        let message = select(&bare, Some("{0..2}.tar"), Split::Train).unwrap_err().to_string();
        assert_eq!(message, "data.train = \"{0..2}.tar\": there is no 2.tar");
    }

    #[test]
    fn folders_are_searched() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(dir.path().join(name), []).unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        ["b.tar", "sub/a.tar", ".hidden.tar", "x.txt"].iter().for_each(|name| touch(name));
        assert_eq!(list(dir.path(), "tar").unwrap(), ["b.tar", "sub/a.tar"]);
        assert!(list(dir.path(), "parquet").unwrap_err().to_string().contains("no .parquet file"));
        touch("c.tar.gz");
        assert!(list(dir.path(), "tar").unwrap_err().to_string().contains("unpack it"));
    }
}
