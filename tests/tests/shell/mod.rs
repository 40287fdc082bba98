//! A user's machine: an empty home, an environment, and `simclr-eval` in processes of its own.
// Each test binary uses a part of it.
#![allow(dead_code)]

use crate::hub::Hub;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Holds the command line that a child process of a test is.
const LINE: &str = "SIMCLR_TEST_LINE";

/// What a test called `child` must do: be `simclr-eval` with the arguments of the environment. Without them it is an
/// empty test.
pub fn child() {
    let Some(line) = std::env::var_os(LINE) else { return };
    let line: Vec<String> = serde_json::from_str(line.to_str().unwrap()).unwrap();
    let line = ["simclr-eval".to_string()].into_iter().chain(line).map(OsString::from).collect();
    // As `main` does: the exit code, and the error as its users see it.
    let code = simclr_core::cli::exit_with(simclr_eval::command::run(line));
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

pub struct Shell<'a> {
    hub: &'a Hub,
    pub home: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Shell<'a> {
    /// A machine whose hub is `hub`, with a token where there is one.
    pub fn new(hub: &'a Hub, token: Option<&str>) -> Self {
        let environment = token.map(|token| ("HF_TOKEN", token.to_string())).into_iter().collect();
        Self { hub, home: tempfile::tempdir().unwrap(), environment }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Where the hub's tools keep what is theirs.
    pub fn hub_home(&self) -> PathBuf {
        self.home.path().join("hf")
    }

    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HF_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", self.hub.endpoint()).env("HF_HOME", self.hub_home());
        // How often and how long the store's client tries again: by default that takes half a minute.
        command.env("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "2").env("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms");
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).current_dir(self.home.path());
        command
    }

    /// Runs `simclr-eval` with these arguments; gives whether it succeeded, and all that it printed.
    pub fn run(&self, line: &[&str]) -> (bool, String) {
        let mut command = self.command(std::env::current_exe().unwrap());
        let line = serde_json::to_string(line).unwrap();
        let output = command.args(["child", "--exact", "--nocapture"]).env(LINE, line).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    pub fn publish(&self, run: &Path, more: &[&str]) -> (bool, String) {
        self.run(&[&["publish", run.to_str().unwrap()], more].concat())
    }

    /// Embeds pictures; gives what [`Shell::run`] does, and the bytes of the file where it was written.
    pub fn embed(&self, checkpoint: &str, images: &Path) -> ((bool, String), Option<Vec<u8>>) {
        let out = self.home.path().join("features.safetensors");
        let line = ["embed", "--checkpoint", checkpoint, "--images", images.to_str().unwrap(), "--out"];
        let ran = self.run(&[&line[..], &[out.to_str().unwrap()]].concat());
        let bytes = std::fs::read(&out).ok();
        let _ = std::fs::remove_file(&out);
        (ran, bytes)
    }
    /// Looks at a dataset of the hub; gives what [`Shell::run`] does.
    pub fn inspect(&self, id: &str) -> (bool, String) {
        let config = self.home.path().join("experiment.toml");
        let training = "length = { steps = 1 }\nbatch = 4\nlearning_rate = 0.1\n";
        let text = format!(
            "name = \"hub\"\n[data]\ndataset = \"parquet\"\nhub = \"{id}\"\nimage_size = 8\n[model]\ndepth = 18\n\
             [pretrain.training]\n{training}[finetune.training]\n{training}[supervised.training]\n{training}"
        );
        std::fs::write(&config, text).unwrap();
        self.run(&["inspect-data", "--config", config.to_str().unwrap()])
    }
}

/// The run failed with one message that holds every part.
#[track_caller]
pub fn refused((success, text): (bool, String), parts: &[&str]) {
    assert!(!success, "no error, expected {parts:?}: {text}");
    let errors: Vec<&str> = text.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{text}");
    for part in parts {
        assert!(errors[0].contains(part), "expected {part:?} in: {}", errors[0]);
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// The run succeeded; gives what it printed.
#[track_caller]
pub fn done((success, text): (bool, String)) -> String {
    assert!(success, "{text}");
    text
}
