//! What NVIDIA's tools say: time and memory traffic of each kernel, and whether any reaches beyond its memory.

use super::site::{Outcome, Site};
use crate::workspace::output;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;

/// Where CUDA puts its tools, when no path names them.
const TOOLS: &str = "/usr/local/cuda/bin";
/// Kernels that are told of.
const LONGEST: usize = 10;
/// Launches before those that are measured: the first two steps, about; and how many are measured: a step, at least.
const SKIPPED: &str = "1300";
const MEASURED: &str = "1000";

/// A tool's path.
fn tool(name: &str) -> Option<String> {
    [name.to_string(), format!("{TOOLS}/{name}")].into_iter().find(|path| output(path, &["--version"]).is_some())
}

/// The kernels that take longest in a step of ResNet-50 at 224 pixels in bf16, and what memory gives them.
///
/// # Errors
/// When the profiler fails.
pub fn kernels(site: &Site) -> Result<Outcome> {
    let Some(ncu) = tool("ncu") else { return Ok(Outcome::Missing("ncu is not here: Nsight Compute has it".into())) };
    let table = site.limited.place("kernels.csv");
    let mut command = under(site, &ncu);
    command.args(["--target-processes", "all", "--metrics", "gpu__time_duration.sum,dram__bytes.sum"]);
    command.args([
        "--clock-control",
        "none",
        "--csv",
        "--launch-skip",
        SKIPPED,
        "--launch-count",
        MEASURED,
        "--log-file",
    ]);
    command.arg(&table).arg(site.binaries.command("simclr-bench").get_program());
    command.args(["step", "--device", &site.device, "--depth", "50", "--width", "1", "--image-size", "224"]);
    command.args(["--batch", "128", "--dtype", "bf16", "--steps", "1"]);
    site.limited.run(&mut command, "ncu")?;
    let text = std::fs::read_to_string(&table).with_context(|| format!("reading {}", table.display()))?;
    let kernels = longest(&text);
    ensure!(!kernels.is_empty(), "the profiler measured no kernel; see {}", table.display());
    let first = kernels[0].clone();
    Ok(Outcome::Passed(json!({
        "longest": first["kernel"], "ms": first["ms"], "tb_per_s": first["tb_per_s"], "kernels": kernels,
    })))
}

/// A short step under the sanitizer: no kernel reads or writes beside its memory.
///
/// # Errors
/// When one does.
pub fn memory(site: &Site) -> Result<Outcome> {
    let Some(sanitizer) = tool("compute-sanitizer") else {
        return Ok(Outcome::Missing("compute-sanitizer is not here: the CUDA toolkit has it".into()));
    };
    let mut command = under(site, &sanitizer);
    command.args(["--tool", "memcheck", "--error-exitcode", "9"]);
    command.arg(site.binaries.command("simclr-bench").get_program());
    command.args(["step", "--device", &site.device, "--depth", "50", "--width", "0.25", "--sk", "0.0625"]);
    command.args(["--image-size", "64", "--batch", "4", "--dtype", "bf16", "--steps", "1"]);
    let text = site.limited.run(&mut command, "sanitizer")?;
    ensure!(text.contains("ERROR SUMMARY: 0 errors"), "the sanitizer does not say that there are no errors");
    Ok(Outcome::Passed(json!({ "errors": 0 })))
}

/// A tool's command with the libraries of our binaries.
fn under(site: &Site, tool: &str) -> Command {
    let mut command = Command::new(tool);
    for (name, value) in site.binaries.command("simclr-bench").get_envs() {
        value.map(|value| command.env(name, value));
    }
    command
}

/// What each kernel took of those in the profiler's table, the longest first.
fn longest(table: &str) -> Vec<Value> {
    let mut lines = table.lines().filter(|line| line.starts_with('"')).map(fields);
    let Some(names) = lines.next() else { return vec![] };
    let column = |name: &str| names.iter().position(|n| n == name);
    let wanted = ["Kernel Name", "Metric Name", "Metric Unit", "Metric Value"].map(column);
    let [Some(kernel), Some(metric), Some(unit), Some(value)] = wanted else { return vec![] };
    let mut sums: BTreeMap<String, (f64, f64, u32)> = BTreeMap::new();
    for fields in lines.filter(|fields| fields.len() == names.len()) {
        let number: f64 = fields[value].replace(',', "").parse().unwrap_or(0.0);
        let number = number * scale(&fields[unit]);
        let name: String = fields[kernel].split('(').next().unwrap_or_default().into();
        let sum = sums.entry(name).or_default();
        match fields[metric].as_str() {
            "gpu__time_duration.sum" => (sum.0, sum.2) = (sum.0 + number, sum.2 + 1),
            _ => sum.1 += number,
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let told = sums.into_iter().take(LONGEST).filter(|(_, (seconds, ..))| *seconds > 0.0);
    told.map(|(name, (seconds, bytes, calls))| {
        json!({ "kernel": name, "ms": seconds * 1e3, "calls": calls, "tb_per_s": bytes / seconds / 1e12 })
    })
    .collect()
}

/// What a unit of the profiler's is in seconds or bytes.
fn scale(unit: &str) -> f64 {
    match unit {
        "ns" | "nsecond" => 1e-9,
        "us" | "usecond" => 1e-6,
        "ms" | "msecond" => 1e-3,
        "Kbyte" => 1e3,
        "Mbyte" => 1e6,
        "Gbyte" => 1e9,
        _ => 1.0,
    }
}

/// The fields of a line in which all are quoted.
fn fields(line: &str) -> Vec<String> {
    line.trim().trim_matches('"').split("\",\"").map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_summed_by_kernel() {
        let table = "==PROF== x\n\"ID\",\"Kernel Name\",\"Metric Name\",\"Metric Unit\",\"Metric Value\"\n\
                     \"0\",\"a(int, float)\",\"gpu__time_duration.sum\",\"us\",\"1,000\"\n\
                     \"0\",\"a(int, float)\",\"dram__bytes.sum\",\"Mbyte\",\"2,000\"\n\
                     \"1\",\"b\",\"gpu__time_duration.sum\",\"ms\",\"3\"\n\
                     \"2\",\"a(int, float)\",\"gpu__time_duration.sum\",\"us\",\"1,000\"\n";
        let kernels = longest(table);
        assert_eq!(kernels[0]["kernel"], "b");
        assert_eq!(
            (&kernels[1]["calls"], &kernels[1]["ms"], &kernels[1]["tb_per_s"]),
            (&json!(2), &json!(2.0), &json!(1.0))
        );
        assert!(longest("no table").is_empty());
    }
}
