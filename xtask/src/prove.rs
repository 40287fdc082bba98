//! `prove`: on a machine with a GPU, everything that only a GPU can show, part by part, within minutes.
//!
//! Each part has passed, failed, or is missing: for want of a tool, or of time. All of it goes into one file of JSON and a
//! table.

mod limited;
mod peers;
mod profile;
mod runs;
mod site;
mod suite;

use crate::readable::duration;
use crate::workspace::{self, Binaries, Extras, output};
use anyhow::{Context, Result, bail};
use limited::Limited;
use serde_json::{Value, json};
use site::{Outcome, Site};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Arguments of `prove`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder for logs and figures, a new one
    #[arg(long, default_value = "prove")]
    out: PathBuf,
    /// cuda or cuda:N
    #[arg(long, default_value = "cuda")]
    device: String,
    /// When to end; what has not been done by then is missing
    #[arg(long, default_value_t = 9.0)]
    minutes: f64,
    /// Only these parts, by name, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Not these parts
    #[arg(long, value_delimiter = ',')]
    except: Vec<String>,
    /// In sizes that an emulated GPU can do. Accuracy and speed mean nothing then
    #[arg(long)]
    small: bool,
}

/// How much longer an emulated GPU may take for a part.
const EMULATED: f64 = 5.0;
/// The name of the file with all figures.
const FIGURES: &str = "prove.json";

/// A part: its name, the seconds that it may take, and what it does.
struct Part {
    name: &'static str,
    seconds: f64,
    prove: fn(&Site) -> Result<Outcome>,
}

/// In the order of what matters most.
const PARTS: [Part; 10] = [
    Part { name: "device", seconds: 30.0, prove: device },
    Part { name: "tests", seconds: 180.0, prove: suite::run },
    Part { name: "determinism", seconds: 90.0, prove: runs::determinism },
    Part { name: "resume", seconds: 60.0, prove: runs::resume },
    Part { name: "training", seconds: 120.0, prove: runs::training },
    Part { name: "speed-224", seconds: 150.0, prove: |site| peers::step(site, 224, 128) },
    Part { name: "speed-32", seconds: 120.0, prove: |site| peers::step(site, 32, 256) },
    Part { name: "speed-64", seconds: 120.0, prove: |site| peers::step(site, 64, 256) },
    Part { name: "kernels", seconds: 90.0, prove: profile::kernels },
    Part { name: "memory", seconds: 90.0, prove: profile::memory },
];

/// Runs all parts; the last line names the file of figures.
///
/// # Errors
/// When a part fails, once all have been tried.
pub fn run(args: &Args) -> Result<()> {
    let known = |name: &String| PARTS.iter().any(|part| part.name == name);
    if let Some(unknown) = args.only.iter().chain(&args.except).find(|name| !known(name)) {
        bail!("no part {unknown}; there are {}", PARTS.map(|part| part.name).join(", "))
    }
    let binaries = Binaries::build(&crate::stages::programs(), &args.device, Extras::Without)?;
    let end = Instant::now() + Duration::from_secs_f64(60.0 * args.minutes);
    let limited = Limited::new(&args.out, end)?;
    let site = Site { binaries, device: args.device.clone(), small: args.small, limited };
    let mut records = Vec::new();
    for part in &PARTS {
        let name = part.name.to_string();
        if (!args.only.is_empty() && !args.only.contains(&name)) || args.except.contains(&name) {
            continue;
        }
        eprint!("{name:<12} ");
        let start = Instant::now();
        site.limited.begin(if args.small { EMULATED * part.seconds } else { part.seconds });
        let done = match site.limited.left() < 5.0 {
            true => Ok(Outcome::Missing("no time was left".into())),
            false => (part.prove)(&site),
        };
        let seconds = start.elapsed().as_secs_f64();
        let (outcome, figures, reason) = match done {
            Ok(Outcome::Passed(figures)) => ("passed", figures, None),
            Ok(Outcome::Missing(reason)) => ("missing", Value::Null, Some(reason)),
            Err(error) => ("failed", Value::Null, Some(format!("{error:#}"))),
        };
        let said = reason.clone().unwrap_or_else(|| brief(&figures));
        eprintln!("{outcome:<8} {:>6}  {said}", duration(seconds));
        records.push(json!({
            "part": name, "outcome": outcome, "seconds": seconds, "figures": figures, "reason": reason,
        }));
    }
    let failed = records.iter().filter(|r| r["outcome"] == "failed").count();
    let all = json!({ "machine": machine(), "small": args.small, "failed": failed, "parts": records });
    let path = args.out.join(FIGURES);
    std::fs::write(&path, serde_json::to_string_pretty(&all)?)
        .with_context(|| format!("writing {}", path.display()))?;
    say!("{}\nwritten to {}", table(&all), path.display());
    if failed > 0 {
        bail!("{failed} of {} parts failed; their logs are in {}", records.len(), args.out.display())
    }
    Ok(())
}

/// What it ran on, and of which code.
fn machine() -> Value {
    let asked = "--query-gpu=name,driver_version,memory.total,compute_cap,clocks.max.sm";
    let pack = std::fs::read_to_string(workspace::root().join(workspace::PACK)).ok();
    let pack: Option<Value> = pack.and_then(|text| serde_json::from_str(&text).ok());
    let root = workspace::root().display().to_string();
    let commit = match &pack {
        Some(pack) => pack["commit"].as_str().map(String::from),
        None => output("git", &["-C", &root, "rev-parse", "HEAD"]),
    };
    json!({
        "gpu": output("nvidia-smi", &[asked, "--format=csv,noheader"]), "commit": commit,
        "threads": std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// Whether the device opens and takes a step: if not, nothing else will do.
fn device(site: &Site) -> Result<Outcome> {
    let line =
        site.step(&["--depth", "18", "--width", "0.0625", "--image-size", "16", "--batch", "4", "--steps", "1"])?;
    Ok(Outcome::Passed(json!({ "gpu": machine()["gpu"], "loss": line["loss"] })))
}

/// Figures in a line: what is a number, a text or a truth.
fn brief(figures: &Value) -> String {
    let shown = |(key, value): (&String, &Value)| match value {
        Value::Number(n) if n.is_f64() => Some(format!("{key} {:.4}", n.as_f64()?)),
        Value::Number(n) => Some(format!("{key} {n}")),
        Value::String(text) => Some(format!("{key} {text}")),
        _ => None,
    };
    figures.as_object().map_or_else(String::new, |all| all.iter().filter_map(shown).collect::<Vec<_>>().join(", "))
}

/// All parts as a table of Markdown.
fn table(all: &Value) -> String {
    let row = |record: &Value| {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_string();
        let said = if record["figures"].is_null() { text("reason") } else { brief(&record["figures"]) };
        let said = said.lines().next().unwrap_or_default().replace('|', "/");
        let seconds = record["seconds"].as_f64().unwrap_or_default();
        format!("| {} | {} | {seconds:.1} | {said} |", text("part"), text("outcome"))
    };
    let rows = all["parts"].as_array().map_or_else(Vec::new, |parts| parts.iter().map(row).collect());
    format!("\n| part | outcome | seconds | figures |\n|---|---|---|---|\n{}", rows.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_a_part_and_no_line_breaks() {
        let all = json!({ "parts": [
            { "part": "a", "outcome": "passed", "seconds": 1.0, "figures": { "ratio": 1.25, "n": 3, "deep": [1] }, "reason": null },
            { "part": "b", "outcome": "failed", "seconds": 2.0, "figures": null, "reason": "first\nsecond" },
        ] });
        let table = table(&all);
        assert!(table.contains("| a | passed | 1.0 | n 3, ratio 1.2500 |"), "{table}");
        assert!(table.contains("| b | failed | 2.0 | first |"), "{table}");
    }
}
