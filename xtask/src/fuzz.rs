//! `fuzz`: the targets of `fuzz/`, guided by coverage, under AddressSanitizer, with the stable compiler.

use crate::readable::duration;
use crate::sanitize::{self, TARGET};
use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// What `cargo fuzz` would set: counters on every edge and comparison, which libFuzzer reads.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Ccodegen-units=4 -Zsanitizer=address";
/// An input that takes longer is a finding, seconds.
const TIMEOUT: u64 = 20;
/// A target that takes more memory is a finding, MB.
const MEMORY: u64 = 2048;
/// Longest input, bytes.
const LENGTH: usize = 1 << 16;

/// Arguments of `fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// Targets [default: all]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each runs
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Give this file to the target instead: what a crash left
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Processes that fuzz one target at once
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

/// Builds the targets and runs them.
///
/// # Errors
/// When the build fails, and when an input crashes a target: the message says where that is and how to repeat it.
pub fn run(args: &Args) -> Result<()> {
    sanitize::possible()?;
    let target = workspace::target()?.join("fuzz");
    let (root, start) = (workspace::root(), Instant::now());
    let mut build = workspace::cargo();
    build.current_dir(root.join("fuzz")).args(["build", "--target", TARGET]);
    build.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &target);
    ensure!(build.status().context("starting cargo")?.success(), "the targets do not compile; the reason is above");
    say!("built in {}", duration(start.elapsed().as_secs_f64()));
    let programs = target.join(TARGET).join("debug");
    let corpus = target.join("corpus");
    let seeds = Command::new(programs.join("seeds")).arg(&corpus).output().context("starting seeds")?;
    ensure!(seeds.status.success(), "the seeds: {}", String::from_utf8_lossy(&seeds.stderr).trim());
    let known: Vec<String> = String::from_utf8_lossy(&seeds.stdout).lines().map(String::from).collect();
    if let Some(unknown) = args.targets.iter().find(|name| !known.contains(name)) {
        anyhow::bail!("no target {unknown}; there are {}", known.join(", "));
    }
    let targets = if args.targets.is_empty() { &known } else { &args.targets };
    ensure!(args.input.is_none() || targets.len() == 1, "--input FILE: name the target that it is for");
    let mut crashed = Vec::new();
    for name in targets {
        if let Some(found) = one(args, &programs, &corpus.join(name), name)? {
            crashed.push(found);
        }
    }
    ensure!(crashed.is_empty(), "{}", crashed.join("\n"));
    Ok(())
}

/// Runs one target; gives what is to be said of a crash.
fn one(args: &Args, programs: &Path, corpus: &Path, name: &str) -> Result<Option<String>> {
    let crashes = corpus.with_file_name(format!("{name}-crashes"));
    std::fs::create_dir_all(&crashes).with_context(|| format!("creating {}", crashes.display()))?;
    let log = corpus.with_file_name(format!("{name}.log"));
    let file = std::fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    let mut command = Command::new(programs.join("target"));
    command.env("SIMCLR_FUZZ", name).env("RAYON_NUM_THREADS", "1").current_dir(&crashes);
    // More than a GB is refused as a full machine would: who asked for it must take that for an answer.
    command.env("ASAN_OPTIONS", "allocator_may_return_null=1:max_allocation_size_mb=1024:detect_leaks=0");
    command.args([format!("-timeout={TIMEOUT}"), format!("-rss_limit_mb={MEMORY}"), format!("-max_len={LENGTH}")]);
    command.arg(format!("-artifact_prefix={}/", crashes.display())).arg("-print_final_stats=1");
    match &args.input {
        Some(input) => command.arg(std::path::absolute(input).context("--input")?),
        None => command.arg(format!("-max_total_time={}", args.seconds)).arg(corpus),
    };
    if args.jobs > 1 {
        command.args([format!("-fork={}", args.jobs), "-ignore_crashes=0".into()]);
    }
    let start = Instant::now();
    let status = command.stdout(std::process::Stdio::null()).stderr(file).status().context("starting the target")?;
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    let runs = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).map(str::trim);
    say!("{name:<12} {:>12} inputs in {}", runs.unwrap_or("?"), duration(start.elapsed().as_secs_f64()));
    if status.success() {
        return Ok(None);
    }
    let input =
        text.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.to_string());
    let what = text.lines().find(|line| line.contains("panicked at") || line.contains("ERROR: ")).unwrap_or_default();
    let input = input.or_else(|| args.input.as_ref().map(|path| path.display().to_string())).unwrap_or_default();
    Ok(Some(format!(
        "{name}: {what}\n    the input is {input}; all that was said is in {}\n    again: cargo xtask fuzz {name} --input {input}",
        log.display()
    )))
}
