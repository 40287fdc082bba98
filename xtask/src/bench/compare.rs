//! `bench compare`: training steps and augmentation beside PyTorch, in turn, on the same machine.

use super::figures::Figures;
use super::record::{self, Machine};
use crate::workspace::{Binaries, Extras, root};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the scripts import, under the names that `pip` knows.
const PACKAGES: &str = "torch torchvision numpy pillow";

/// How to compare.
#[derive(clap::Args)]
pub struct Args {
    /// Steps that are measured in each run
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Numbers to compute with, separated by commas: f32, bf16
    #[arg(long, value_delimiter = ',', default_value = "f32", value_parser = ["f32", "bf16"])]
    dtypes: Vec<String>,
    /// Vector unit of both sides [default: the best of this processor]
    #[arg(long, value_parser = ["avx512", "avx2"])]
    simd: Option<String>,
    /// Runs of each side; their medians count
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A Python that has torch and torchvision
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Only what has one of these in its name, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Folder for the figures, a new one [default: benches/runs/DATE-MACHINE]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Something that both sides do: a subcommand of `simclr-bench`, and the script of that name.
struct Task {
    /// As the table calls it.
    name: String,
    /// Numbers that it computes with.
    dtype: String,
    what: &'static str,
    options: String,
    /// Source images of either side, ours first, where a run is measured in them.
    counts: Option<[u32; 2]>,
}

impl Task {
    /// The options of our side (0) or theirs (1).
    fn arguments(&self, side: usize) -> Vec<String> {
        let mut all: Vec<String> = self.options.split(' ').map(String::from).collect();
        if let Some(counts) = self.counts {
            all.extend(["--count".into(), counts[side].to_string()]);
        }
        all
    }
}

const SIDES: [&str; 2] = ["ours", "torch"];

/// Depth, width, selective kernels, side of the images, batch.
const STEPS: [(u32, f64, f64, u32, u32); 5] = [
    (18, 0.25, 0.0, 32, 256),
    (18, 1.0, 0.0, 32, 128),
    (50, 1.0, 0.0, 32, 64),
    (50, 1.0, 0.0625, 32, 32),
    (50, 1.0, 0.0, 224, 8),
];
/// Side of the views, and source images of either side: a second or a few of each.
const VIEWS: [(u32, [u32; 2]); 2] = [(32, [100_000, 3000]), (224, [800, 100])];

fn tasks(args: &Args, threads: usize) -> Vec<Task> {
    let mut tasks = Vec::new();
    for dtype in &args.dtypes {
        for (depth, width, sk, side, batch) in STEPS {
            let kernels = if sk > 0.0 { "-sk" } else { "" };
            let options = format!(
                "--depth {depth} --width {width} --sk {sk} --image-size {side} --batch {batch} --dtype {dtype} --threads \
                 {threads} --steps {}",
                args.steps
            );
            let name = format!("resnet{depth}-x{width}{kernels}-{side}px-batch{batch}");
            tasks.push(Task { name, dtype: dtype.clone(), what: "step", options, counts: None });
        }
    }
    for (side, counts) in VIEWS {
        let options = format!("--image-size {side} --threads 1");
        let name = format!("augment-{side}px");
        tasks.push(Task { name, dtype: "f32".into(), what: "augment", options, counts: Some(counts) });
    }
    tasks.retain(|task| args.only.is_empty() || args.only.iter().any(|part| task.name.contains(part)));
    tasks
}

/// Measures both sides in turn; the table goes to the terminal and, with every line that was printed, into a folder.
///
/// # Errors
/// When Python lacks torch, the folder exists, or a benchmark fails.
pub fn run(args: &Args) -> Result<()> {
    ensure!(args.rounds > 0 && args.steps > 0, "--rounds and --steps must be at least 1");
    let forced = args.simd.as_ref().map_or(String::new(), |unit| format!("; both sides with {unit}"));
    let machine = Machine::here(&(versions(&args.python)? + &forced));
    let tasks = tasks(args, machine.threads);
    ensure!(!tasks.is_empty(), "--only {}: no such shape", args.only.join(","));
    let binaries = Binaries::build(&["simclr-pretrain"], "cpu", Extras::Without)?;
    // A folder that cannot be made is better known before the measurements than after.
    let folder = record::folder(args.out.as_deref(), &machine)?;
    let mut results = Vec::new();
    for task in tasks {
        let mut figures = Figures::of(&task.name, &task.dtype);
        for round in 1..=args.rounds {
            let one = |side: usize, command: &mut Command| -> Result<Value> {
                let (name, arguments) = (SIDES[side], task.arguments(side));
                let line = last_line(command.args(&arguments).envs(forcing(args.simd.as_deref())))
                    .with_context(|| format!("{} in {}, {name}", task.name, task.dtype))?;
                let entry = json!({
                    "side": name, "task": task.name, "what": task.what, "arguments": arguments, "round": round,
                    "result": line,
                });
                record::append(&folder, &entry)?;
                Ok(line)
            };
            let ours = one(0, binaries.command("simclr-bench").arg(task.what))?;
            let script = root().join(format!("benches/peers/{}.py", task.what));
            let theirs = one(1, Command::new(&args.python).arg(script))?;
            figures.add(&ours, &theirs)?;
            eprintln!(
                "{} {} {round}/{}: {:.1} against {:.1} images/s",
                task.name,
                task.dtype,
                args.rounds,
                figures.ours[round - 1],
                figures.theirs[round - 1]
            );
        }
        results.push(figures);
    }
    let table = record::table(&results);
    say!("{table}");
    // Where --out is not given, no argument is the folder's path.
    record::readme(&folder, &machine, &table, &[(&args.python, "PYTHON"), (&folder, "OUT")])?;
    say!("written to {}", folder.display());
    Ok(())
}

/// The variables that hold our kernels, and PyTorch's with its libraries, to a vector unit.
fn forcing(unit: Option<&str>) -> Vec<(&'static str, &str)> {
    let Some(unit) = unit else { return Vec::new() };
    let (onednn, mkl) = if unit == "avx2" { ("AVX2", "AVX2") } else { ("AVX512_CORE", "AVX512") };
    vec![
        ("SIMCLR_SIMD", unit),
        ("ONEDNN_MAX_CPU_ISA", onednn),
        ("ATEN_CPU_CAPABILITY", unit),
        ("MKL_ENABLE_INSTRUCTIONS", mkl),
    ]
}

/// Versions of Python, torch and torchvision, as one line.
fn versions(python: &Path) -> Result<String> {
    let script = "import sys, torch, torchvision, numpy, PIL; print('Python', sys.version.split()[0] + ', torch', \
                  torch.__version__ + ', torchvision', torchvision.__version__)";
    let name = python.display();
    let output = Command::new(python)
        .args(["-c", script])
        .output()
        .with_context(|| format!("starting {name}; name a Python by --python PATH"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let reason = message.lines().last().unwrap_or_default();
        bail!(
            "{name} cannot run the PyTorch side ({reason}): install it with `{name} -m pip install {PACKAGES}`, or name \
             another Python by --python PATH"
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Runs a benchmark and reads the JSON of its last line.
fn last_line(command: &mut Command) -> Result<Value> {
    let output = command.stderr(Stdio::inherit()).output().context("starting it")?;
    ensure!(output.status.success(), "it failed ({}); its message is above", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("its last line is no JSON: {line}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn names(line: &str) -> Vec<String> {
        let args = Line::try_parse_from(line.split(' ')).unwrap().args;
        tasks(&args, 2).into_iter().map(|task| format!("{} {}", task.name, task.dtype)).collect()
    }

    #[test]
    fn every_shape_is_measured_in_every_dtype_and_views_once() {
        assert_eq!(names("x").len(), 7);
        assert_eq!(names("x --dtypes f32,bf16").len(), 12);
        assert_eq!(names("x --dtypes bf16 --only sk"), ["resnet50-x1-sk-32px-batch32 bf16"]);
        assert_eq!(names("x --only augment"), ["augment-32px f32", "augment-224px f32"]);
        assert!(Line::try_parse_from(["x", "--dtypes", "f64"]).is_err());
    }

    #[test]
    fn a_unit_is_forced_on_both_sides() {
        assert!(forcing(None).is_empty());
        let of_avx2 = forcing(Some("avx2"));
        assert!(of_avx2.contains(&("SIMCLR_SIMD", "avx2")) && of_avx2.contains(&("ONEDNN_MAX_CPU_ISA", "AVX2")));
        assert!(Line::try_parse_from(["x", "--simd", "sse9"]).is_err());
    }

    #[test]
    fn a_python_that_will_not_do_is_told_apart_from_none() {
        let message = |python: &str| versions(Path::new(python)).unwrap_err().to_string();
        assert!(message("no-such-python").contains("--python PATH"));
        // Fails like a Python without torch, and is on every machine.
        assert!(message("false").contains("-m pip install torch torchvision"));
    }
}
