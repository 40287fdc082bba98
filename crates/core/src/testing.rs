//! Help for tests of every crate: numbers held against numbers, and a log of how close they came.

use crate::cli::DeviceChoice;
use candle_core::Device;
use serde_json::json;
use simclr_ops::Precision;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

/// The device that tests compute on: the one that the environment's `SIMCLR_TEST_DEVICE` names as `--device` does; else
/// the best one of this build. A GPU computes in f32.
///
/// # Panics
/// When it cannot be opened.
pub fn device() -> Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    let open = || {
        let name = std::env::var("SIMCLR_TEST_DEVICE").unwrap_or_else(|_| "auto".into());
        let choice = name.parse::<DeviceChoice>().map_err(anyhow::Error::msg);
        let device = choice.and_then(|choice| choice.open_as(Precision::Exact));
        device.unwrap_or_else(|e| panic!("SIMCLR_TEST_DEVICE={name}: {e:#}"))
    };
    DEVICE.get_or_init(open).clone()
}

/// Writes files below `dir`, each with its own path as its contents, and the folders on their way.
///
/// # Panics
/// When one cannot be written.
pub fn write_files<'a>(dir: &Path, files: impl IntoIterator<Item = &'a str>) {
    for file in files {
        let path = dir.join(file);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, file));
        made.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

/// Fails unless every number of `got` lies within `tolerance * max |want|` of `want`.
///
/// # Panics
/// With the largest error and where it is; also when lengths differ or a number is not finite.
#[track_caller]
pub fn assert_close(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    let scale = want.iter().fold(0.0f32, |m, w| m.max(w.abs())).max(f32::MIN_POSITIVE);
    hold("of the largest", name, got, want, scale, tolerance);
}

/// Fails unless every number of `got` lies within `tolerance` of `want`.
///
/// # Panics
/// As [`assert_close`].
#[track_caller]
pub fn assert_within(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    hold("absolute", name, got, want, 1.0, tolerance);
}

#[track_caller]
fn hold(measure: &str, name: &str, got: &[f32], want: &[f32], scale: f32, tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{name}: {} numbers, expected {}", got.len(), want.len());
    let mut worst = (0.0f32, 0);
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(g.is_finite() && w.is_finite(), "{name}[{i}]: {g}, expected {w}");
        let error = (g - w).abs() / scale;
        if error > worst.0 {
            worst = (error, i);
        }
    }
    let (error, at) = worst;
    assert!(
        error <= tolerance,
        "{name}[{at}] of {}: {}, expected {}; off by {error:.2e} {measure} (unit {scale:.3e}), allowed {tolerance:.0e}",
        got.len(),
        got[at],
        want[at]
    );
    log(name, got.len(), measure, f64::from(error), f64::from(tolerance));
}

/// Adds one comparison to the file that the environment's `SIMCLR_PARITY_LOG` names, as a line of JSON with the test
/// that made it; without the variable nothing happens. `cargo xtask parity` makes its table from these lines.
///
/// # Panics
/// When the file cannot be written.
pub fn log(name: &str, count: usize, measure: &str, error: f64, tolerance: f64) {
    let Some(path) = std::env::var_os("SIMCLR_PARITY_LOG") else { return };
    let thread = std::thread::current();
    let line = json!({
        "test": thread.name().unwrap_or("main"), "name": name, "count": count,
        "measure": measure, "error": error, "tolerance": tolerance,
    });
    // One write of a whole line: tests on other threads append to the same file.
    let written = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = written.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    assert!(written.is_ok(), "{}: {written:?}", path.display());
}

#[cfg(test)]
mod tests {
    use super::{assert_close, assert_within};

    #[test]
    fn relative_to_the_largest() {
        assert_close("fine", &[100.0, 0.5], &[100.0, 0.0], 1e-2);
        assert_close("zeros", &[0.0], &[0.0], 0.0);
        assert_within("fine", &[100.0, 0.5], &[100.25, 0.25], 0.25);
    }

    #[test]
    #[should_panic(expected = "far[1]")]
    fn names_the_place() {
        assert_close("far", &[1.0, 2.0], &[1.0, 2.1], 1e-3);
    }

    #[test]
    #[should_panic(expected = "off[0]")]
    fn absolute_is_absolute() {
        assert_within("off", &[1000.0], &[1000.5], 0.1);
    }

    #[test]
    #[should_panic(expected = "nan[0]")]
    fn nan_is_never_close() {
        assert_close("nan", &[f32::NAN], &[1.0], 1.0);
    }
}
