//! A disk that is slow, fails once, and is full for a moment: training says so, goes on, and ends with the same bits.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod training;

use simclr_core::cli::init_log;
use simclr_core::config::Config;
use simclr_core::run::layout::{CHECKPOINT, MODEL};
use std::path::Path;
use std::process::Command;

/// Set for the process that trains: where.
const TRAINS: &str = "SIMCLR_TEST_DISK";

fn config(pictures: &Path) -> Config {
    let training =
        serde_json::json!({"length": {"steps": 6}, "batch": 4, "learning_rate": 0.1, "checkpoint_every": {"steps": 2}});
    serde_json::from_value(serde_json::json!({
        "name": "disk",
        "data": {"dataset": "folder", "dir": pictures, "image_size": 16},
        "model": {"depth": 18, "width": 0.0625, "proj_dim": 8},
        "pretrain": {"training": training}, "finetune": {"training": training}, "supervised": {"training": training},
    }))
    .unwrap()
}

/// The work of the processes that the test below starts.
#[test]
fn trains() {
    let Some(dir) = std::env::var_os(TRAINS) else { return };
    init_log();
    let pictures = Path::new(&dir).parent().unwrap().join("pictures");
    training::pretrain(Path::new(&dir), &config(&pictures), None, &candle_core::Device::Cpu);
}

#[test]
fn a_disk_that_is_slow_and_fails_once_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("failing.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/failing.c");
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    assert!(compiled.is_ok_and(|status| status.success()), "cc compiles {}", source.display());
    for i in 0..16u8 {
        let folder = dir.path().join("pictures").join(["a", "b"][usize::from(i % 2)]);
        std::fs::create_dir_all(&folder).unwrap();
        let pixels = (0..20 * 20 * 3).map(|at| (at * (usize::from(i) + 3) % 251) as u8).collect();
        image::RgbImage::from_raw(20, 20, pixels).unwrap().save(folder.join(format!("{i}.png"))).unwrap();
    }
    let train = |name: &str, preload: Option<&Path>| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "trains", "--nocapture"]).env(TRAINS, dir.path().join(name)).env("RUST_LOG", "info");
        preload.map(|library| command.env("LD_PRELOAD", library));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        (std::fs::read(dir.path().join(name).join(CHECKPOINT).join(MODEL)).unwrap(), said)
    };
    let ((whole, quiet), (hurt, said)) = (train("whole", None), train("hurt", Some(&library)));
    assert!(whole == hurt, "the same bits");
    assert!(!quiet.contains("try 1 of"), "{quiet}");
    for part in [".png", "Input/output error", ".safetensors: ", "No space left on device", "try 1 of"] {
        assert!(said.contains(part), "{part} in: {said}");
    }
}
