//! What figures were measured with: processor, commit, day.

use crate::workspace::root;
use jiff::{Timestamp, tz::TimeZone};
use std::process::Command;

/// The name of the processor.
pub fn processor() -> String {
    let information = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = information.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}

/// Threads that may compute at once.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Today, in UTC: `2026-11-28`.
pub fn today() -> String {
    Timestamp::now().to_zoned_datetime(TimeZone::UTC).date().to_string()
}

/// The commit of the code, and whether files have changed since; nothing outside a repository.
pub fn commit() -> Option<(String, bool)> {
    let changed = output("git", &["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    Some((output("git", &["rev-parse", "HEAD"])?, changed))
}

/// Digits of a commit that are told.
const DIGITS: usize = 12;

/// The beginning of the commit, with `+` behind it where files have changed since; `unknown` outside a repository.
pub fn short_commit() -> String {
    let Some((commit, changed)) = commit() else { return "unknown".into() };
    format!("{}{}", &commit[..DIGITS.min(commit.len())], if changed { "+" } else { "" })
}

/// What a program says in the workspace's root, if it is there and succeeds.
pub fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}
