//! Publishing to a hub on loopback and loading from it, as users do: other processes, by command lines.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;
mod hub;

use desk::Desk;
use hub::{Hub, READER, STORE_TOKEN, WRITER};
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Holds the command line that a child process of this test is.
const LINE: &str = "SIMCLR_TEST_LINE";

/// Not a test: what [`Shell::run`] starts. It is `simclr-eval` with the arguments of the environment.
#[test]
fn child() {
    let Some(line) = std::env::var_os(LINE) else { return };
    let line: Vec<String> = serde_json::from_str(line.to_str().unwrap()).unwrap();
    let line = ["simclr-eval".to_string()].into_iter().chain(line).map(OsString::from).collect();
    // As `main` does: the exit code, and the error as its users see it.
    let code = simclr_core::cli::exit_with(simclr_eval::command::run(line));
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

/// A user's machine: an empty home, and what its environment says of the hub.
struct Shell<'a> {
    hub: &'a Hub,
    home: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Shell<'a> {
    fn new(hub: &'a Hub, token: Option<&str>) -> Self {
        let environment = token.map(|token| ("HF_TOKEN", token.to_string())).into_iter().collect();
        Self { hub, home: tempfile::tempdir().unwrap(), environment }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HF_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.hub.endpoint()).env("HF_HOME", self.home.path().join("hf"));
        // Retries are the library's; their waits are seconds.
        command.env("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2").env("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms");
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).current_dir(self.home.path());
        command
    }

    /// Runs `simclr-eval` with these arguments; gives whether it succeeded, and all that it printed.
    fn run(&self, line: &[&str]) -> (bool, String) {
        let mut command = self.command(&std::env::current_exe().unwrap());
        let line = serde_json::to_string(line).unwrap();
        let output = command.args(["child", "--exact", "--nocapture"]).env(LINE, line).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    fn publish(&self, run: &Path, more: &[&str]) -> (bool, String) {
        self.run(&[&["publish", run.to_str().unwrap()], more].concat())
    }
}

/// The line holds every part; it is one message.
#[track_caller]
fn refused((success, text): (bool, String), parts: &[&str]) {
    assert!(!success, "no error, expected {parts:?}: {text}");
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    for part in parts {
        assert!(errors[0].contains(part), "expected {part:?} in: {}", errors[0]);
    }
    assert!(!text.contains("panicked"), "{text}");
}

#[track_caller]
fn done((success, text): (bool, String)) -> String {
    assert!(success, "{text}");
    text
}

const FILES: [&str; 5] = ["model.safetensors", "config.json", "README.md", "simclr_resnet.py", "config.toml"];

#[test]
fn once_published_it_loads_everywhere() {
    let (hub, desk) = (Hub::start(), Desk::new());
    desk.pretrain("run", &[]).unwrap();
    let run = desk.path("run");
    let shell = Shell::new(&hub, Some(WRITER));
    // A dry run sends nothing and writes what would be sent.
    let dry = desk.path("dry");
    let text = done(shell.publish(&run, &["--repo", "me/net", "--dry-run", "--out", dry.to_str().unwrap()]));
    assert_eq!(hub.requests(""), 0, "{text}");
    assert!(FILES.iter().all(|file| text.contains(file)), "{text}");

    done(shell.publish(&run, &["--repo", "me/net", "--private"]));
    assert_eq!(hub.commits("me/net", "main"), 2, "everything is one commit");
    assert!(hub.is_private("me/net"));
    for file in FILES {
        assert_eq!(hub.file("me/net", "main", file).unwrap(), std::fs::read(dry.join(file)).unwrap(), "{file}");
    }
    let weights = std::fs::read(run.join("checkpoint/model.safetensors")).unwrap();
    assert_eq!(hub.file("me/net", "main", "model.safetensors").unwrap(), weights);
    assert!(hub.requests("xet-write-token") > 0, "large files go into the store of chunks");

    // The same again is no commit, and sends no byte of the weights.
    let before = hub.requests("POST");
    let text = done(shell.publish(&run, &["--repo", "me/net"]));
    assert!(text.contains("nothing changed"), "{text}");
    assert_eq!((hub.commits("me/net", "main"), hub.requests("POST")), (2, before));
    // Another licence changes the card alone; a branch is made.
    let text = done(shell.publish(&run, &["--repo", "me/net", "--license", "cc0-1.0", "--revision", "next"]));
    assert!(text.contains("1 files in one commit") && text.contains("hf://me/net@next"), "{text}");
    assert_eq!((hub.commits("me/net", "main"), hub.commits("me/net", "next")), (2, 3));
}
