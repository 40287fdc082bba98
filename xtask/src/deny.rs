//! `deny`: crates of others by the rules of `deny.toml`, from what cargo knows already: licences, sources, versions.
//!
//! `cargo deny` reads the same file and does more: advisories, for which it asks the network.

use crate::workspace;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The rules.
#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// What cargo tells of a crate.
#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// Holds every crate against the rules.
///
/// # Errors
/// When one does not keep them; the message names each.
pub fn run() -> Result<()> {
    let path = workspace::root().join("deny.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let rules: Rules = toml::from_str(&text).with_context(|| format!("{} has no such rules", path.display()))?;
    let output = workspace::cargo().args(["metadata", "--format-version", "1", "--locked"]).output();
    let output = output.context("starting cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    let found: Metadata = serde_json::from_slice(&output.stdout).context("reading cargo metadata")?;
    let (faults, doubles) = check(&rules, &found.packages);
    doubles.iter().for_each(|name| say!("warning: {name}, and deny.toml does not know it"));
    let others = found.packages.iter().filter(|package| package.source.is_some()).count();
    ensure!(
        faults.is_empty(),
        "{} of {others} crates break the rules of deny.toml:\n{}",
        faults.len(),
        faults.join("\n")
    );
    say!(
        "{others} crates of others keep the rules; advisories are `cargo deny check advisories`, which needs the network"
    );
    Ok(())
}

/// What breaks the rules, and which crates have several versions that the rules do not name.
fn check(rules: &Rules, packages: &[Package]) -> (Vec<String>, Vec<String>) {
    let (mut faults, mut versions) = (Vec::new(), BTreeMap::<&str, BTreeSet<&str>>::new());
    for package in packages {
        let Some(source) = &package.source else { continue };
        let is_known = rules.sources.allow_registry.iter().any(|known| source.strip_prefix("registry+") == Some(known));
        if !is_known {
            faults.push(format!("{} {} comes from {source}", package.name, package.version));
        }
        let exception = rules.licenses.exceptions.iter().find(|exception| exception.name == package.name);
        let allowed =
            |name: &str| rules.licenses.allow.contains(name) || exception.is_some_and(|e| e.allow.contains(name));
        match &package.license {
            None => faults.push(format!("{} {} names no licence", package.name, package.version)),
            Some(license) if !keeps(license, &allowed) => {
                faults.push(format!("{} {} is licensed {license}", package.name, package.version));
            }
            Some(_) => {}
        }
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    let is_known = |name: &str| rules.bans.skip.iter().any(|skip| skip == name);
    let several = versions.into_iter().filter(|(name, versions)| versions.len() > 1 && !is_known(name));
    let told = |(name, versions): (&str, BTreeSet<&str>)| {
        format!("{name} in versions {}", versions.into_iter().collect::<Vec<_>>().join(", "))
    };
    (faults, several.map(told).collect())
}

/// Whether a licence expression can be kept with what is allowed: of `OR` one, of `AND` all; a slash is an old `OR`.
fn keeps(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let kept = any_of(&words, &mut at, allowed);
    kept && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut kept = all_of(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        kept |= all_of(words, at, allowed);
    }
    kept
}

fn all_of(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let mut kept = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        kept &= one(words, at, allowed);
    }
    kept
}

fn one(words: &[&str], at: &mut usize, allowed: &dyn Fn(&str) -> bool) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let kept = any_of(words, at, allowed);
        let closes = words.get(*at) == Some(&")");
        *at += 1;
        return kept && closes;
    }
    match (words.get(*at), words.get(*at + 1)) {
        (Some(&"WITH"), Some(exception)) => {
            *at += 2;
            allowed(&format!("{word} WITH {exception}"))
        }
        _ => allowed(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_read_as_their_authors_mean_them() {
        let allowed = |name: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&name);
        for kept in
            ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "ISC AND (MIT OR GPL-3.0)", "Apache-2.0 WITH LLVM-exception OR X"]
        {
            assert!(keeps(kept, &allowed), "{kept}");
        }
        for broken in ["GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-3.0 OR X)", "Apache-2.0", "", "(MIT", "MIT MIT"] {
            assert!(!keeps(broken, &allowed), "{broken}");
        }
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        let rules = "licenses = { allow = [\"MIT\"], exceptions = [{ crate = \"odd\", allow = [\"MPL-2.0\"] }] }\n\
                     bans = { skip = [\"twice\"] }\nsources = { allow-registry = [\"here\"] }";
        let rules: Rules = toml::from_str(rules).expect("rules");
        let package = |name: &str, version: &str, license: Option<&str>, source: &str| Package {
            name: name.into(),
            version: version.into(),
            license: license.map(String::from),
            source: Some(source.into()),
        };
        let (good, other) = ("registry+here", "git+elsewhere");
        let packages = [
            package("fine", "1.0.0", Some("MIT"), good),
            package("odd", "1.0.0", Some("MPL-2.0"), good),
            package("even", "1.0.0", Some("MPL-2.0"), good),
            package("none", "1.0.0", None, good),
            package("far", "1.0.0", Some("MIT"), other),
            package("twice", "1.0.0", Some("MIT"), good),
            package("twice", "2.0.0", Some("MIT"), good),
            package("fine", "2.0.0", Some("MIT"), good),
        ];
        let (faults, doubles) = check(&rules, &packages);
        let expected =
            ["even 1.0.0 is licensed MPL-2.0", "none 1.0.0 names no licence", "far 1.0.0 comes from git+elsewhere"];
        assert_eq!(faults, expected);
        assert_eq!(doubles, ["fine in versions 1.0.0, 2.0.0"]);
    }
}
