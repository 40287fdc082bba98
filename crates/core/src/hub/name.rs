//! Names on the hub: `OWNER/NAME`, and `hf://OWNER/NAME[@REV][/FILE]`.

use crate::run::layout::MODEL;
use anyhow::{Error, Result, bail, ensure};
use std::fmt;
use std::str::FromStr;

/// What begins the name of a checkpoint of the hub.
const SCHEME: &str = "hf:/";
/// Most characters of an owner or a name.
const LONGEST: usize = 96;

/// A model repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoId {
    /// A user or an organisation.
    pub owner: String,
    /// The repository's name.
    pub name: String,
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl FromStr for RepoId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((owner, name)) = text.split_once('/').filter(|(_, name)| !name.contains('/')) else {
            bail!("{text:?} is no repository of the hub: expected OWNER/NAME")
        };
        for part in [owner, name] {
            if let Some(why) = malformed(part) {
                bail!("{text:?} is no repository of the hub: {part:?} {why}")
            }
        }
        Ok(Self { owner: owner.into(), name: name.into() })
    }
}

/// Why the hub would refuse a part of a repository's name.
fn malformed(part: &str) -> Option<&'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let edge = |c: char| c == '-' || c == '.';
    match part {
        "" => Some("must not be empty"),
        p if p.chars().count() > LONGEST => Some("is longer than 96 characters"),
        p if !p.chars().all(allowed) => Some("may hold letters, digits, `-`, `_` and `.` alone"),
        p if p.starts_with(edge) || p.ends_with(edge) => Some("must not begin or end with `-` or `.`"),
        p if p.contains("--") || p.contains("..") => Some("must not hold `--` or `..`"),
        p if p.ends_with(".git") => Some("must not end in `.git`"),
        _ => None,
    }
}

/// A checkpoint of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubPath {
    /// Where it is.
    pub repo: RepoId,
    /// A branch, tag or commit; the main branch where there is none.
    pub revision: Option<String>,
    /// The weights, a `.safetensors` of the repository; `model.safetensors` where there is none.
    pub file: Option<String>,
}

/// Whether `text` names a checkpoint of the hub.
pub fn is_hub_path(text: &str) -> bool {
    text.starts_with(SCHEME)
}

impl fmt::Display for HubPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hf://{}", self.repo)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        self.file.iter().try_for_each(|file| write!(f, "/{file}"))
    }
}

impl FromStr for HubPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix(SCHEME).map(|rest| rest.trim_start_matches('/').trim_end_matches('/'));
        let parts = rest.and_then(|rest| {
            let (owner, rest) = rest.split_once('/')?;
            let (name, file) = rest.split_once('/').map_or((rest, None), |(name, file)| (name, Some(file)));
            Some((owner, name, file))
        });
        let Some((owner, name, file)) = parts else {
            bail!("{text}: expected hf://OWNER/NAME, hf://OWNER/NAME@REVISION or either with /FILE")
        };
        let (name, revision) = name.split_once('@').map_or((name, None), |(name, rev)| (name, Some(rev)));
        ensure!(revision != Some(""), "{text}: no revision follows the @");
        let file = file.map(|file| match file.ends_with(".safetensors") {
            true => file.to_string(),
            false => format!("{file}/{MODEL}"),
        });
        if file.iter().flat_map(|file| file.split('/')).any(|part| ["", ".", ".."].contains(&part)) {
            bail!("{text}: a file of the repository has a plain path, such as small/{MODEL}")
        }
        // A revision with a slash stands with %2F in its place, as in the hub's own addresses.
        let revision = revision.map(|revision| revision.replace("%2F", "/").replace("%2f", "/"));
        Ok(Self { repo: format!("{owner}/{name}").parse()?, revision, file })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_part_is_found() {
        let parts = |text: &str| {
            let path: HubPath = text.parse().unwrap();
            (path.repo.to_string(), path.revision.unwrap_or_default(), path.file.unwrap_or_default())
        };
        let of = |repo: &str, revision: &str, file: &str| (repo.to_string(), revision.to_string(), file.to_string());
        assert_eq!(parts("hf://me/net"), of("me/net", "", ""));
        assert_eq!(parts("hf:/me/net/"), of("me/net", "", ""));
        assert_eq!(parts("hf://me/net@v1.0"), of("me/net", "v1.0", ""));
        assert_eq!(parts("hf://me/net@refs%2Fpr%2F1/a/b.safetensors"), of("me/net", "refs/pr/1", "a/b.safetensors"));
        assert_eq!(parts("hf://me/net/small"), of("me/net", "", "small/model.safetensors"));
        assert!(is_hub_path("hf://x") && !is_hub_path("runs/hf") && !is_hub_path("hf"));
        let text = "hf://me/net@v1.0/a/b.safetensors";
        assert_eq!(text.parse::<HubPath>().unwrap().to_string(), text);
    }

    #[test]
    fn malformed_names_say_why() {
        let message = |text: &str| text.parse::<HubPath>().unwrap_err().to_string();
        assert!(message("hf://me").contains("hf://OWNER/NAME"));
        assert!(message("hf://me/net@").contains("revision"));
        assert!(message("hf://me/net/../x").contains("plain path"));
        let message = |text: &str| text.parse::<RepoId>().unwrap_err().to_string();
        for (text, why) in [
            ("net", "OWNER/NAME"),
            ("me/net/x", "OWNER/NAME"),
            ("me/", "empty"),
            ("me/n t", "letters"),
            ("me/-net", "begin"),
            ("me/a--b", "--"),
            ("me/net.git", ".git"),
        ] {
            assert!(message(text).contains(why), "{text}: {}", message(text));
        }
        assert!(message(&format!("me/{}", "x".repeat(97))).contains("96"));
    }
}
