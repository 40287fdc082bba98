//! `sanitize`: AddressSanitizer over the crates that hold `unsafe`, on each vector unit of this processor, and Miri where it is
//! installed.

use crate::readable::duration;
use crate::{doctor, workspace};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Sanitizers need the target named: build scripts and macros are built without them.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Tests of `simclr-ops` that Miri finishes in minutes. They reach what is `unsafe` on the portable unit: buffers that begin
/// without numbers, vectors over slices, loops, pixels on their way to a device, rows that ranks exchange.
const MIRI: [&str; 5] = ["simd::", "tensor::", "metrics::", "collective::tests::rows", "collective::tests::sums"];

/// Arguments of `sanitize`.
#[derive(clap::Args)]
pub struct Args {
    /// The first unit alone, without Miri
    #[arg(long)]
    short: bool,
    /// Miri alone
    #[arg(long, conflicts_with = "short")]
    miri: bool,
}

/// Whether this machine has what AddressSanitizer takes.
///
/// # Errors
/// Where it has not: which machine would.
pub fn possible() -> Result<()> {
    ensure!(
        cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")),
        "sanitizers: the stable toolchain brings them for {TARGET} alone"
    );
    Ok(())
}

/// Runs the tests.
///
/// # Errors
/// When a test fails or a sanitizer reports.
pub fn run(args: &Args) -> Result<()> {
    possible()?;
    if !args.miri {
        address(args.short)?;
    }
    if !args.short { miri() } else { Ok(()) }
}

fn address(short: bool) -> Result<()> {
    let target = workspace::target()?.join("sanitize");
    let units = doctor::units();
    let units = if short { &units[..1] } else { &units[..] };
    for unit in units {
        let start = Instant::now();
        // The emulated GPU's tests launch some thousand blocks each; its memory has guards of its own.
        tests(&target, "simclr-ops", &["--skip", "emulated::", "--skip", "barriers::"], Some(unit))?;
        say!("simclr-ops on {unit}: nothing found in {}", duration(start.elapsed().as_secs_f64()));
    }
    tests(&target, "simclr-alloc", &[], None)?;
    say!("simclr-alloc: nothing found");
    Ok(())
}

fn tests(target: &Path, package: &str, args: &[&str], unit: Option<&str>) -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["test", "--quiet", "--target", TARGET, "-p", package, "--lib", "--"]).args(args);
    command.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address").env("CARGO_TARGET_DIR", target);
    if let Some(unit) = unit {
        command.env("SIMCLR_SIMD", unit);
    }
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "AddressSanitizer over {package}: the report is above");
    Ok(())
}

fn miri() -> Result<()> {
    // A cargo that was itself started by rustup names its toolchain in the environment.
    let nightly = || {
        let mut command = Command::new("cargo");
        command
            .arg("+nightly")
            .args(["miri"])
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("CARGO")
            .current_dir(workspace::root());
        command
    };
    if !nightly().arg("--version").output().is_ok_and(|output| output.status.success()) {
        say!("Miri is skipped: `rustup component add miri rust-src --toolchain nightly` brings it");
        return Ok(());
    }
    for filter in MIRI {
        let start = Instant::now();
        let mut command = nightly();
        command.args(["test", "--quiet", "-p", "simclr-ops", "--lib", "--", filter, "--skip", "emulated"]);
        command
            .env("SIMCLR_SIMD", "portable")
            .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-tree-borrows -Zmiri-ignore-leaks");
        command.env("CARGO_TARGET_DIR", workspace::target()?.join("miri"));
        let status = command.status().context("starting cargo miri")?;
        ensure!(status.success(), "Miri over {filter}: the report is above");
        say!("Miri over {filter}: nothing found in {}", duration(start.elapsed().as_secs_f64()));
    }
    Ok(())
}
