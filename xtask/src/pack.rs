//! `pack`: all that a machine with a GPU needs to train and to prove itself, in one folder; no Rust there.

use crate::built::{Program, built};
use crate::reproduce;
use crate::workspace::{self, PACK, PROGRAMS, root};
use crate::{cuda, readable::duration};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Arguments of `pack`.
#[derive(clap::Args)]
pub struct Args {
    /// For NVIDIA GPUs: needs no GPU here, and on the other machine a driver (R580 or newer), CUDA 13 and cuDNN 9
    #[arg(long, required = true)]
    cuda: bool,
    /// The folder to make, a new one
    #[arg(long)]
    out: PathBuf,
    /// With the tests, which `prove` runs there
    #[arg(long)]
    tests: bool,
    /// Compress fast: a seventh more bytes, in an eighth of the time
    #[arg(long)]
    fast: bool,
}

impl Args {
    /// A pack in `out`, without the tests, soon made.
    pub fn new(out: PathBuf) -> Self {
        Self { cuda: true, out, tests: false, fast: true }
    }
}

/// What every experiment and its proof read, as it stands in the workspace.
const FILES: [&str; 5] = ["configs", "benches/peers", "python", "LICENSE-APACHE", "LICENSE-MIT"];
/// What the tests read.
const GOLDEN: &str = "tests/golden";
/// Tests that compute on the device. That runs are determined and resume is proved by the stages themselves.
const TESTS: [&[&str]; 2] = [
    &["-p", "simclr-ops", "-p", "simclr-core", "--lib"],
    &["-p", "simclr-tests", "--test", "golden_core", "--test", "golden_networks", "--test", "golden_trajectory"],
];
/// The folder of the tests, which travel as one compressed file, as the programs do.
const SUITE: &str = "suite";
/// How xz compresses. Programs share most of their code: a window that holds two of them finds it.
const BEST: &str = "-9 -T1";
const FAST: &str = "--lzma2=preset=1,dict=64MiB -T1";
/// Most bytes of a folder.
const MOST: u64 = 60_000_000;

/// Unpacks what travels compressed, once, and hands its arguments on.
const START: &str = r#"#!/bin/sh
# Starts `xtask` of this folder: ./xtask reproduce configs/quickstart.toml, ./xtask doctor, ./xtask prove
set -e
here=$(cd "$(dirname "$0")" && pwd)
for part in bin suite; do
  [ ! -f "$here/$part.tar.xz" ] || [ -d "$here/$part" ] || {
    mkdir "$here/$part.new" && tar -xJf "$here/$part.tar.xz" -C "$here/$part.new" && mv "$here/$part.new" "$here/$part"
  }
done
exec "$here/bin/xtask" "$@"
"#;
const PROVE: &str = r#"#!/bin/sh
# Proves that this machine's GPU computes what it should, and measures how fast: see ./xtask prove --help
exec "$(dirname "$0")/xtask" prove "$@"
"#;

/// Builds and packs.
///
/// # Errors
/// When something does not build, or the folder is there.
pub fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let out = &args.out;
    ensure!(!out.exists(), "{} exists: name a new folder", out.display());
    let build = cuda::Build::prepare()?;
    let mut command = build.cargo("build");
    command.arg("--no-default-features");
    for package in reproduce::programs() {
        command.args(["--package", package, "--features", &format!("{package}/nccl")]);
    }
    let mut programs = built(&mut command)?;
    programs.extend(built(workspace::cargo().args(["build", "--package", "xtask"]))?);
    ensure!(programs.len() > reproduce::programs().len(), "only {} programs were built", programs.len());
    let mut tests = Vec::new();
    if args.tests {
        for picked in TESTS {
            tests.extend(built(build.cargo("test").args(["--no-run", "--features", "nccl"]).args(picked))?);
        }
    }

    fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    let effort = if args.fast { FAST } else { BEST };
    compressed(out, PROGRAMS, &programs, effort)?;
    let mut files = FILES.to_vec();
    if args.tests {
        compressed(out, SUITE, &tests, effort)?;
        files.push(GOLDEN);
    }
    for file in files {
        copy(&root().join(file), &out.join(file))?;
    }
    executable(&out.join("xtask"), START)?;
    executable(&out.join("prove.sh"), PROVE)?;
    let names = |all: &[Program]| all.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    let commit = workspace::output("git", &["-C", &root().display().to_string(), "rev-parse", "HEAD"]);
    let about = json!({
        "version": env!("CARGO_PKG_VERSION"), "commit": commit, "programs": names(&programs), "tests": names(&tests),
    });
    fs::write(out.join(PACK), serde_json::to_string_pretty(&about)?)?;

    let bytes = size(out)?;
    let (megabytes, seconds) = (bytes as f64 / 1e6, duration(start.elapsed().as_secs_f64()));
    say!("{megabytes:.1} MB in {} ({seconds}); there: ./prove.sh, ./xtask reproduce CONFIG", out.display());
    ensure!(bytes <= MOST, "it is to be at most {} MB", MOST / 1_000_000);
    Ok(())
}

/// The programs of the tests: those of the pack that this is, or built for the GPU of this machine. None in a pack without.
///
/// # Errors
/// When they do not build.
pub fn suite() -> Result<Option<Vec<PathBuf>>> {
    if let Some(pack) = workspace::pack() {
        let Ok(entries) = fs::read_dir(pack.join(SUITE)) else { return Ok(None) };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        return Ok(Some(paths));
    }
    let mut paths = Vec::new();
    for picked in TESTS {
        let programs = built(workspace::cargo().args(["test", "--no-run", "--features", "nccl"]).args(picked))?;
        paths.extend(programs.into_iter().map(|program| program.path));
    }
    Ok(Some(paths))
}

/// Programs without their symbols, as one compressed file.
fn compressed(out: &Path, name: &str, programs: &[Program], effort: &str) -> Result<()> {
    let folder = out.join(format!("{name}.new"));
    fs::create_dir_all(&folder)?;
    for program in programs {
        let (to, from) = (folder.join(&program.name), &program.path);
        let stripped = Command::new("strip").arg("-o").args([&to, from]).status();
        if !stripped.is_ok_and(|status| status.success()) {
            fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
        }
    }
    let archive = out.join(format!("{name}.tar.xz"));
    let status =
        Command::new("tar").env("XZ_OPT", effort).arg("-cJf").arg(&archive).arg("-C").arg(&folder).arg(".").status();
    ensure!(status.context("starting tar")?.success(), "tar could not write {} (it needs xz)", archive.display());
    fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))
}

/// A file, or all of a folder, without what Python leaves.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("copying {}", from.display());
    if from.is_dir() {
        fs::create_dir_all(to).with_context(what)?;
        for entry in fs::read_dir(from).with_context(what)? {
            let entry = entry?;
            if entry.file_name() != "__pycache__" {
                copy(&entry.path(), &to.join(entry.file_name()))?;
            }
        }
        return Ok(());
    }
    to.parent().map_or(Ok(()), fs::create_dir_all).with_context(what)?;
    fs::copy(from, to).map(|_| ()).with_context(what)
}

fn executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    match Command::new("chmod").arg("+x").arg(path).status() {
        Ok(status) if status.success() => Ok(()),
        _ => bail!("chmod +x {} failed", path.display()),
    }
}

/// Bytes of all files of a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_packed_is_there() {
        for file in FILES.iter().chain([&GOLDEN]) {
            assert!(root().join(file).exists(), "{file}");
        }
    }
}
