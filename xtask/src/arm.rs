//! `arm-check`: compiles tests for 64-bit ARM on a machine that is none, and runs them under emulation.
//!
//! The standard library for ARM is rustup's where that is installed, or else Debian's: its package `rustc-web` is a current
//! compiler, and exists for every processor. What the tests do without, the hub and parquet, is not compiled.

use crate::readable::duration;
use crate::workspace::{self, output};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Compilers that may have a standard library for it.
const COMPILERS: [&str; 2] = ["rustc", "/usr/bin/rustc"];
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATORS: [&str; 2] = ["qemu-aarch64-static", "qemu-aarch64"];
/// Where the C library for ARM lies.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// What runs where no arguments say otherwise: all that computes, as far as it is done in minutes under emulation. First the
/// digests, by which trainings come to the bits that they come to elsewhere, where the golden numbers hold.
const TESTS: [&str; 5] = ["digest", "golden_core", "golden_augment", "golden_networks", "golden_import"];

/// Crates of others that no test here passes much through, nor tests: they are not optimised, which takes most of the time to
/// compile them.
const PLAIN: [&str; 16] = [
    "candle-core",
    "image",
    "image-webp",
    "png",
    "fdeflate",
    "zune-core",
    "zune-jpeg",
    "jpeg-decoder",
    "tiff",
    "gif",
    "weezl",
    "flate2",
    "miniz_oxide",
    "zlib-rs",
    "tar",
    "sha1",
];

/// Arguments of `arm-check`.
#[derive(clap::Args, Default)]
pub struct Args {
    /// For cargo test, instead of what is run else: `-- -p simclr-tests --test golden_trajectory`
    #[arg(last = true, value_name = "ARGUMENTS")]
    test: Vec<String>,
    /// Leave out what equal digests of whole trainings say already: golden numbers
    #[arg(long)]
    short: bool,
}

impl Args {
    /// What a change must pass.
    pub fn short() -> Self {
        Self { short: true, ..Self::default() }
    }
}

/// Compiler and emulator of this machine.
pub struct Tools {
    compiler: &'static str,
    emulator: &'static str,
}

impl Tools {
    /// Finds them; root on Debian installs what is missing.
    ///
    /// # Errors
    /// When something is missing that cannot be installed; the message tells how to get it.
    pub fn ready() -> Result<Self> {
        ensure!(
            !cfg!(target_arch = "aarch64"),
            "this machine is an ARM machine: cargo test says more than an emulator"
        );
        let missing = match Self::find() {
            Ok(tools) => return Ok(tools),
            Err(packages) => packages,
        };
        let advice = || {
            format!(
                "arm-check wants Debian's packages {} (after dpkg --add-architecture arm64), or what they are elsewhere: \
                 `rustup target add {TARGET}`, {LINKER} and {}",
                missing.join(" "),
                EMULATORS[1],
            )
        };
        ensure!(may_install(), advice());
        install(&missing).with_context(advice)?;
        Self::find().ok().with_context(advice)
    }

    /// The tools, or else the packages that hold what is missing.
    fn find() -> Result<Self, Vec<&'static str>> {
        let compiler = COMPILERS.into_iter().find(|compiler| has_library(compiler));
        let emulator = EMULATORS.into_iter().find(|emulator| runs(emulator));
        let parts: [(bool, &[&str]); 3] = [
            (compiler.is_some(), &["rustc-web", "libstd-rust-web-dev:arm64"]),
            (runs(LINKER), &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]),
            (emulator.is_some(), &["qemu-user-static"]),
        ];
        let missing: Vec<&str> =
            parts.iter().filter(|(there, _)| !there).flat_map(|(_, names)| *names).copied().collect();
        match (compiler, emulator) {
            (Some(compiler), Some(emulator)) if missing.is_empty() => Ok(Self { compiler, emulator }),
            _ => Err(missing),
        }
    }

    /// Compiles the tests, and runs them.
    ///
    /// # Errors
    /// When one does not compile, or fails.
    pub fn test(&self, args: &Args) -> Result<()> {
        let start = Instant::now();
        let mut command = workspace::cargo();
        command.args(["test", "--target", TARGET]);
        for name in PLAIN {
            command.args(["--config", &format!("profile.dev.package.{name}.opt-level=0")]);
        }
        match args.test.is_empty() {
            true => command
                .args(["-p", "simclr-ops", "-p", "simclr-tests", "--lib"])
                .args(TESTS[..if args.short { 1 } else { TESTS.len() }].iter().flat_map(|name| ["--test", name]))
                // A GPU that is emulated on an emulated processor takes its time and says nothing of that processor; nor
                // does plain code. What an emulated process starts may not be emulated, either.
                .args(["--", "--skip", "emulated::", "--skip", "barriers::", "--skip", "every_other_unit"]),
            false => command.args(&args.test),
        };
        let name = TARGET.replace('-', "_");
        let variable = |what: &str| format!("CARGO_TARGET_{}_{what}", name.to_uppercase());
        let status = command
            .env("RUSTC", self.compiler)
            .env("CARGO_TARGET_DIR", workspace::target()?.join("aarch64"))
            .env(variable("LINKER"), LINKER)
            // The loader and the library of one version: beside Debian's own ARM library, the loader would take that.
            .env(variable("RUNNER"), format!("{} -E LD_LIBRARY_PATH={LIBRARIES}/lib -L {LIBRARIES}", self.emulator))
            .env(format!("CC_{name}"), LINKER)
            // Flags for the processor at hand are not for ARM. What this one does stands in tests/Cargo.toml.
            .env("RUSTFLAGS", "--cfg simclr_lean")
            .status()
            .context("starting cargo")?;
        ensure!(status.success(), "cargo test for {TARGET} failed; the messages are above");
        say!("the tests pass on emulated ARM ({})", duration(start.elapsed().as_secs_f64()));
        Ok(())
    }
}

/// Runs the tests on emulated ARM.
///
/// # Errors
/// As [`Tools::ready`] and [`Tools::test`].
pub fn check(args: &Args) -> Result<()> {
    Tools::ready()?.test(args)
}

fn runs(program: &str) -> bool {
    output(program, &["--version"]).is_some()
}

fn has_library(compiler: &str) -> bool {
    let folder = output(compiler, &["--print", "target-libdir", "--target", TARGET]);
    folder.is_some_and(|folder| std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some()))
}

/// Packages are installed for root on Debian alone: elsewhere a second architecture is none of our business.
fn may_install() -> bool {
    let debian =
        std::fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=debian"));
    debian && Path::new("/usr/bin/apt-get").exists() && output("id", &["-u"]).is_some_and(|user| user == "0")
}

fn install(packages: &[&str]) -> Result<()> {
    say!("installing {}", packages.join(" "));
    let update = ["-qq", "update"];
    let install = [&["-qq", "-y", "--no-install-recommends", "install"], packages].concat();
    for (program, args) in [("dpkg", &["--add-architecture", "arm64"][..]), ("apt-get", &update), ("apt-get", &install)]
    {
        let status = Command::new(program)
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("starting {program}"))?;
        ensure!(status.success(), "{program} {} failed", args.join(" "));
    }
    Ok(())
}
