//! `ci`: what a change must pass, step by step.

use crate::built::{self, Program, built};
use crate::readable::duration;
use crate::{ablate, arm, cuda, deny, doctor, hostile, layout, mpi, pack, reproduce, soak, workspace};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Runs every step and stops at the first that fails.
///
/// # Errors
/// The failing step.
pub fn run() -> Result<()> {
    let start = Instant::now();
    step("format", || cargo(&["fmt", "--all", "--check"]))?;
    step("lints", || cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step("lints without hub and parquet", lints_without_extras)?;
    step("crates of others", deny::run)?;
    let programs = step("tests", tests)?;
    step("other vector units", || other_units(&programs))?;
    step("processes over MPI", || processes(&programs))?;
    step("CUDA without a GPU", cuda_without_gpu)?;
    step("a pack, proved on the emulated GPU", packed)?;
    step("ARM, emulated", arm_emulated)?;
    step("a tiny experiment, and the same one killed", experiment)?;
    step("malformed inputs", || hostile::run(&hostile::Args::sample(HOSTILE)))?;
    step("own pictures, from a folder to a report", own_pictures)?;
    say!("\nall passed in {}", duration(start.elapsed().as_secs_f64()));
    Ok(())
}

/// Malformed inputs that are tried, of some thousands: as many as take half a minute.
const HOSTILE: usize = 400;
/// How often the tiny experiment is killed.
const KILLS: usize = 3;

fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say!("\n=== {name} ===");
    let start = Instant::now();
    let done = work().with_context(|| format!("step `{name}`"))?;
    say!("=== {name}: passed in {} ===", duration(start.elapsed().as_secs_f64()));
    Ok(done)
}

/// What `reproduce` builds for most experiments, and nothing else does: the stages without the hub and parquet.
fn lints_without_extras() -> Result<()> {
    let packages = reproduce::programs().into_iter().flat_map(|package| ["--package", package]);
    let args = ["clippy", "--no-default-features"].into_iter().chain(packages).chain(["--", "-D", "warnings"]);
    cargo(&args.collect::<Vec<_>>())
}

/// All tests, and the list of those that this machine lacks something for. Their programs, which later steps run in other
/// surroundings: asked for packages alone, cargo would turn off features of others' crates and compile much of them again.
fn tests() -> Result<Vec<Program>> {
    let list = std::env::temp_dir().join(format!("simclr-skipped-{}", std::process::id()));
    let mut command = workspace::cargo();
    let tested = run_cargo(command.env("SIMCLR_SKIPPED", &list), &["test", "--workspace"]);
    if let Ok(skipped) = std::fs::read_to_string(&list) {
        say!("\nskipped on this machine:");
        skipped.lines().for_each(|line| say!("  {line}"));
        std::fs::remove_file(&list).with_context(|| format!("removing {}", list.display()))?;
    }
    tested?;
    built(workspace::cargo().args(["test", "--workspace", "--no-run"]))
}

/// Tests of what computes, on each vector unit of this processor but the one that has run them. The digests of whole trainings
/// have been compared among all tests: golden numbers hold for one unit as for another.
fn other_units(programs: &[Program]) -> Result<()> {
    for unit in doctor::units().into_iter().skip(1) {
        say!("{unit}:");
        // The emulated kernels know no unit.
        let mut ops = built::tests(programs, "simclr_ops")?;
        ops.args(["--quiet", "--skip", "emulated::", "--skip", "barriers::"]).env("SIMCLR_SIMD", unit);
        passes(&mut ops, "the tests of simclr-ops")?;
    }
    Ok(())
}

/// Tests that run on the emulated GPU as well, and what of each: operations, networks, optimisers, whole trainings.
/// `simclr-core` opens the device for tests of `simclr-ops`; ranks of two GPUs, over NCCL, take a few steps.
const EMULATED: [(&str, &[&str]); 6] = [
    ("simclr_core", &[]),
    ("simclr_ops", &[]),
    ("golden_core", &[]),
    ("golden_networks", &[]),
    ("golden_trajectory", &[]),
    ("ranks", &["a_few_steps"]),
];
/// Builds them, all in one go: each set of packages has its own features of others' crates.
const BUILD_EMULATED: [&str; 9] =
    ["--no-run", "--features", "nccl", "-p", "simclr-ops", "-p", "simclr-core", "-p", "simclr-tests"];

/// Compiles all that is for CUDA, and runs tests on the emulated GPU. The compiler comes from PyPI: a machine that has no
/// way to it is told so, and loses nothing else.
fn cuda_without_gpu() -> Result<()> {
    if let Err(reason) = cuda::compiler() {
        say!("skipped on this machine: {reason:#}");
        return Ok(());
    }
    cuda::check(&cuda::Args::default())?;
    let build = cuda::Build::prepare()?;
    let mut command = build.cargo("test");
    command.args(BUILD_EMULATED).arg("--lib");
    for (name, _) in EMULATED.iter().filter(|(name, _)| !name.starts_with("simclr_")) {
        command.args(["--test", name]);
    }
    let programs = built(&mut command)?;
    for (name, args) in EMULATED {
        say!("{name}:");
        let mut tests = built::tests(&programs, name)?;
        build.surround(&mut tests);
        passes(tests.arg("--quiet").args(args), &format!("the tests called {name}, on the emulated GPU,"))?;
    }
    Ok(())
}

/// Trains on processes, where an MPI is here or can be had.
fn processes(programs: &[Program]) -> Result<()> {
    if let Err(reason) = mpi::wheels::Mpi::ready(&workspace::target()?) {
        say!("skipped on this machine: {reason:#}");
        return Ok(());
    }
    mpi::check(built::tests(programs, "processes")?)
}

/// What a machine with a GPU and no Rust would get: it trains there, on the emulated GPU, without this workspace.
fn packed() -> Result<()> {
    let lacking = cuda::compiler().err().map(|reason| format!("{reason:#}"));
    let no_xz = || workspace::output("xz", &["--version"]).is_none().then(|| "there is no xz".to_string());
    if let Some(reason) = lacking.or_else(no_xz) {
        say!("skipped on this machine: {reason}");
        return Ok(());
    }
    let folder = std::env::temp_dir().join(format!("simclr-pack-{}", std::process::id()));
    pack::run(&pack::Args::new(folder.clone()))?;
    let status = Command::new(folder.join("prove.sh"))
        .args(["--small", "--minutes", "15", "--except", "tests", "--out"])
        .arg(folder.join("proof"))
        .env("PATH", "/usr/bin:/bin")
        .env("LD_LIBRARY_PATH", cuda::Build::prepare()?.emulated())
        .status()
        .context("starting prove.sh")?;
    ensure!(status.success(), "the pack in {} does not prove itself", folder.display());
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}

/// Runs what computes on emulated ARM, where Debian's packages for that are here or can be had.
fn arm_emulated() -> Result<()> {
    match arm::Tools::ready() {
        Ok(tools) => tools.test(&arm::Args::short()),
        Err(reason) => {
            say!("skipped on this machine: {reason:#}");
            Ok(())
        }
    }
}

fn cargo(args: &[&str]) -> Result<()> {
    run_cargo(&mut workspace::cargo(), args)
}

fn run_cargo(command: &mut Command, args: &[&str]) -> Result<()> {
    let status = command.args(args).status().context("starting cargo")?;
    ensure!(status.success(), "cargo {} failed", args.join(" "));
    Ok(())
}

/// Runs a program of tests to its end.
fn passes(tests: &mut Command, what: &str) -> Result<()> {
    let status = tests.status().with_context(|| format!("starting {what}"))?;
    ensure!(status.success(), "{what} failed; their messages are above");
    Ok(())
}

/// A folder of pictures and a few labels, as a person has them: an experiment is made and run; then a label is added.
fn own_pictures() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("simclr-ci-pictures-{}", std::process::id()));
    let (pictures, out) = (dir.join("made"), dir.join("run"));
    let made = pictures.display().to_string();
    let small = ["--train", "300", "--test", "60", "--per-class", "4", "--draws", "2", "--format", "jpg"];
    // Without the hub, as the stages are.
    let example = ["run", "-p", "simclr-data-tools", "--no-default-features", "--example", "pictures"];
    let example = [&example[..], &["--", "textures", &made]].concat();
    cargo(&[&example[..], &small].concat())?;
    for table in ["labels.csv", "labels-1.csv"] {
        let report = reproduce::run(&reproduce::Args::own(&pictures, table, out.clone()))?;
        for name in [report.join(layout::PAGE), out.join(layout::PREDICTIONS), out.join(layout::NEXT_TO_LABEL)] {
            ensure!(std::fs::metadata(&name).is_ok_and(|m| m.len() > 100), "no {}", name.display());
        }
    }
    ensure!(out.join(layout::EARLIER).join("1").is_dir(), "what followed from the first labels is gone");
    std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))
}

/// Every stage of a small experiment, from images to the report; then once more, killed, to the same bits. The folder stays where
/// it fails, to be looked at.
fn experiment() -> Result<()> {
    let out = std::env::temp_dir().join(format!("simclr-ci-{}", std::process::id()));
    let (config, alone) = (PathBuf::from("configs/smoke.toml"), out.join("undisturbed"));
    let report = reproduce::run(&reproduce::Args::new(config.clone(), alone.clone()))?;
    for name in [layout::PAGE, layout::RESULTS] {
        let path = report.join(name);
        ensure!(std::fs::metadata(&path).is_ok_and(|m| m.len() > 100), "no report at {}", path.display());
    }
    soak::run(&soak::Args::short(config.clone(), alone, out.clone(), KILLS))?;
    // A grid: runs that cells share, two at a time, and its page.
    ablate::run(&ablate::Args::sample(config, "finetune.proj_selector=0,1", &out))?;
    let page = out.join("ablate-finetune.proj_selector-ablation.html");
    ensure!(std::fs::metadata(&page).is_ok_and(|m| m.len() > 100), "no page at {}", page.display());
    std::fs::remove_dir_all(&out).with_context(|| format!("removing {}", out.display()))
}
