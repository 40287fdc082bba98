//! The tests that compute, golden numbers among them, on the GPU.

use super::site::{Outcome, Site};
use crate::cuda::libraries;
use crate::pack::suite;
use crate::workspace::root;
use anyhow::{Result, bail, ensure};
use serde_json::json;
use std::process::Command;

/// Cores from which on the tests' programs run side by side.
const MANY_CORES: usize = 8;
/// Tests of the emulator, which say nothing of a GPU.
const SKIPPED: [&str; 4] = ["--skip", "emulated::", "--skip", "barriers::"];

/// Runs them all.
///
/// # Errors
/// When one fails, with the names of those that did.
pub fn run(site: &Site) -> Result<Outcome> {
    let Some(programs) = suite()? else {
        return Ok(Outcome::Missing("this pack has no tests: pack with --tests".into()));
    };
    let together = std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= MANY_CORES);
    let (mut passed, mut failed, mut running) = (0, Vec::new(), Vec::new());
    let mut finish = |name: String, started| match site.limited.wait(started) {
        Ok(text) => match counts(&text) {
            Some((count, 0)) => passed += count,
            _ => failed.push(format!("{name}: says of no test that it passed")),
        },
        Err(error) => failed.push(format!("{name}: {error:#}")),
    };
    for path in programs {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = Command::new(&path);
        command
            .args(SKIPPED)
            .env("SIMCLR_TEST_DEVICE", &site.device)
            .env("SIMCLR_GOLDEN_DIR", root().join("tests/golden"));
        command.env("LD_LIBRARY_PATH", libraries::search_path()?);
        let started = site.limited.start(&mut command, &name)?;
        match together {
            true => running.push((name, started)),
            false => finish(name, started),
        }
    }
    running.into_iter().for_each(|(name, started)| finish(name, started));
    if !failed.is_empty() {
        bail!("{}", failed.join("; "))
    }
    ensure!(passed > 0, "no test ran");
    Ok(Outcome::Passed(json!({ "tests": passed })))
}

/// Tests that passed and that failed, in the summary of a test program.
fn counts(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().rfind(|line| line.starts_with("test result: "))?;
    let before = |word: &str| {
        let words: Vec<&str> = line.split([' ', ';']).filter(|w| !w.is_empty()).collect();
        words.windows(2).find(|pair| pair[1] == word)?[0].parse().ok()
    };
    Some((before("passed")?, before("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_read() {
        let text = "running 3 tests\ntest a ... ok\n\ntest result: ok. 39 passed; 2 failed; 0 ignored; 0 measured; 17 \
                    filtered out; finished in 18.38s\n";
        assert_eq!(counts(text), Some((39, 2)));
        assert_eq!(counts("nothing"), None);
    }
}
