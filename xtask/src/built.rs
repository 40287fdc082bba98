//! Executables that cargo has built, by name: to be packed, or to be run without asking cargo again.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// An executable that cargo has built.
pub struct Program {
    /// What its target is called; unit tests of a library are called after it, `simclr_ops`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The folder of its package, in which cargo starts tests.
    home: PathBuf,
    /// Whether it runs tests.
    tests: bool,
}

/// What a command of cargo's builds.
///
/// # Errors
/// When the build fails.
pub fn built(command: &mut Command) -> Result<Vec<Program>> {
    command.arg("--message-format=json-render-diagnostics");
    let output = command.stderr(Stdio::inherit()).output().context("starting cargo")?;
    ensure!(output.status.success(), "the build failed; the compiler's messages are above");
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// Those that cargo's messages name.
fn executables(messages: &str) -> Vec<Program> {
    let of = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().map(String::from);
        let manifest: PathBuf = text(&message["manifest_path"]).unwrap_or_default().into();
        Some(Program {
            name: text(&message["target"]["name"])?,
            path: text(&message["executable"])?.into(),
            home: manifest.parent().map(PathBuf::from).unwrap_or_default(),
            tests: message["profile"]["test"] == true,
        })
    };
    messages.lines().filter_map(of).collect()
}

/// A command that runs the tests called `name`, as cargo would.
///
/// # Errors
/// When there are none among `programs`.
pub fn tests(programs: &[Program], name: &str) -> Result<Command> {
    let found = programs.iter().find(|program| program.tests && program.name == name);
    let program = found.with_context(|| format!("no tests called {name} were built"))?;
    let mut command = Command::new(&program.path);
    command.current_dir(&program.home);
    Ok(command)
}

#[cfg(test)]
mod unit_tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    #[test]
    fn cargo_names_what_it_has_built() {
        let messages = "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"a\"},\"executable\":\"/t/a-1\",\
                        \"profile\":{\"test\":false}}\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"lib\"},\"executable\":null}\nplain\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"a\"},\"executable\":\"/t/a-2\",\
                        \"profile\":{\"test\":true},\"manifest_path\":\"/w/a/Cargo.toml\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}";
        let found = executables(messages);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), found[0].path.as_path()), ("a", Path::new("/t/a-1")));
        let command = tests(&found, "a").unwrap();
        assert_eq!(command.get_program(), "/t/a-2");
        assert_eq!(command.get_current_dir(), Some(Path::new("/w/a")));
        assert!(tests(&found, "lib").unwrap_err().to_string().contains("lib"));
    }
}
