//! Tables of speed, from the folders that `cargo xtask bench compare` and `cargo xtask prove` leave.

use super::text::{row, rule};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use simclr_core::config::ModelConfig;
use simclr_core::disk;
use std::path::Path;

/// Every line that a comparison printed.
const RAW: &str = "raw.jsonl";
/// What it was measured with.
const ABOUT: &str = "README.md";
/// Most bytes of either.
const MOST: u64 = 16 << 20;
/// How the names of proofs begin.
const PROOF: &str = "prove-";
/// Numbers that steps are measured in.
const MODES: [&str; 2] = ["f32", "bf16"];

/// What one side of one task measured in one round.
struct Line {
    task: String,
    mode: String,
    ours: bool,
    round: u64,
    speed: f64,
    memory: Option<f64>,
    /// Depth, width, share of selective kernels, side and batch; of views, nothing.
    shape: Option<[f64; 5]>,
}

impl Line {
    fn read(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let result = &json["result"];
        let number = |key: &str| result[key].as_f64();
        let shape = ["depth", "width", "sk", "image_size", "batch"].map(number);
        let shape = match shape {
            [Some(depth), Some(width), Some(sk), Some(side), Some(batch)] => Some([depth, width, sk, side, batch]),
            _ => None,
        };
        Some(Self {
            task: json["task"].as_str()?.into(),
            mode: result["mode"].as_str().unwrap_or("f32").into(),
            ours: json["side"].as_str()? == "ours",
            round: json["round"].as_u64()?,
            speed: number("images_per_s")?,
            memory: number("peak_rss_mib"),
            shape,
        })
    }
}

/// `50 with selective kernels, 32, 64`: depth, pixels, batch.
fn named([depth, width, sk, side, batch]: [f64; 5]) -> String {
    let width = if width == 1.0 { String::new() } else { format!(", width {width}") };
    let model = ModelConfig { sk_ratio: sk, ..ModelConfig::resnet(depth as usize) };
    let kernels = if model.has_selective_kernels() { " with selective kernels" } else { "" };
    format!("{depth}{width}{kernels}, {side}, {batch}")
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (upper, lower) = (values.get(values.len() / 2)?, values.get(values.len().saturating_sub(1) / 2)?);
    Some((lower + upper) / 2.0)
}

/// The median of ours, and that of the rounds' ratios to the other side: both of a round saw the same weather on the machine.
fn against(lines: &[&Line], of: impl Fn(&Line) -> Option<f64>) -> Option<(f64, f64)> {
    let ours: Vec<&&Line> = lines.iter().filter(|line| line.ours).collect();
    let ratio = |line: &Line| {
        let other = lines.iter().find(|other| !other.ours && other.round == line.round)?;
        Some(of(line)? / of(other)?)
    };
    let values: Option<Vec<f64>> = ours.iter().map(|line| of(line)).collect();
    let ratios: Option<Vec<f64>> = ours.iter().map(|line| ratio(line)).collect();
    Some((median(values?)?, median(ratios?)?))
}

/// Images a second with the digits that matter.
fn speed(value: f64) -> String {
    match value {
        _ if value >= 10_000.0 => format!("{:.0}", (value / 100.0).round() * 100.0),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

/// Steps and views beside PyTorch on a CPU, from the folder of a comparison.
///
/// # Errors
/// When the folder's files cannot be read, or hold no comparison.
pub fn beside_torch(folder: &Path) -> Result<String> {
    let path = folder.join(RAW);
    let text = disk::read_small_text(&path, MOST)?;
    let read =
        |line| Line::read(line).with_context(|| format!("{}: not a line of a comparison: {line}", path.display()));
    let lines = text.lines().map(read).collect::<Result<Vec<Line>>>()?;
    ensure!(!lines.is_empty(), "{}: nothing was compared", path.display());
    let modes: Vec<&str> =
        MODES.into_iter().filter(|mode| lines.iter().any(|l| l.shape.is_some() && l.mode == *mode)).collect();
    let mut tasks: Vec<(&str, [f64; 5])> = Vec::new();
    for line in &lines {
        if let Some(shape) = line.shape
            && !tasks.iter().any(|(task, _)| *task == line.task)
        {
            tasks.push((&line.task, shape));
        }
    }
    let heads = modes.iter().flat_map(|mode| [*mode, "ratio", "memory"]);
    let mut out = row(["ResNet, pixels, batch"].into_iter().chain(heads));
    out += &rule(1 + 3 * modes.len(), 1);
    for (task, shape) in tasks {
        let mut cells = vec![named(shape)];
        for mode in &modes {
            let of: Vec<&Line> = lines.iter().filter(|line| line.task == task && line.mode == *mode).collect();
            let figures = against(&of, |line| Some(line.speed));
            let memory = against(&of, |line| line.memory);
            cells.push(figures.map_or_else(String::new, |(ours, _)| speed(ours)));
            cells.push(figures.map_or_else(String::new, |(_, ratio)| format!("{ratio:.2}")));
            cells.push(memory.map_or_else(String::new, |(_, ratio)| format!("{ratio:.2}")));
        }
        out += &row(cells);
    }
    let mut views: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| line.shape.is_none() && line.ours && line.round == 1) {
        let of: Vec<&Line> = lines.iter().filter(|other| other.task == line.task).collect();
        if let Some((ours, ratio)) = against(&of, |line| Some(line.speed)) {
            let side = line.task.trim_start_matches("augment-").trim_end_matches("px");
            views.push(format!("{ratio:.0} times torchvision at {side} px ({} images/s)", speed(ours)));
        }
    }
    if !views.is_empty() {
        out += &format!("\nBoth views of an image, on one thread: {}.\n", views.join("; "));
    }
    let rounds = lines.iter().map(|line| line.round).max().unwrap_or(1);
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    out += &format!("\nn = {rounds}, medians; {} ([all figures](benches/runs/{name})).\n", about(folder)?);
    Ok(out)
}

/// What a comparison was measured with: processor, commit, versions, day.
fn about(folder: &Path) -> Result<String> {
    let path = folder.join(ABOUT);
    let text = disk::read_small_text(&path, MOST)?;
    let items: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("- ")).collect();
    let named = |name: &str| items.iter().find_map(|item| item.strip_prefix(name)).map(str::trim);
    let (processor, commit) = (named("processor:"), named("commit:"));
    let (Some(processor), Some(commit)) = (processor, commit) else {
        bail!("{}: processor and commit of the comparison are missing", path.display())
    };
    // `0123456789abcdef..., with an uncommitted edit of x` keeps what follows the hash.
    let end = commit.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(commit.len());
    let commit = format!("{}{}", &commit[..end.min(12)], &commit[end..]);
    let peer = items.last().copied().unwrap_or_default();
    let date = text.lines().next().and_then(|line| line.rsplit_once(", ")).map_or("", |(_, date)| date);
    Ok(format!("{date}, {processor}, commit {commit}; {peer}"))
}

/// Steps beside PyTorch on a GPU, from the proofs of a folder.
///
/// # Errors
/// When there is none, or one has no figures of speed.
pub fn on_a_gpu(folder: &Path) -> Result<String> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PROOF)));
    let mut rows = Vec::new();
    let mut machines: Vec<String> = Vec::new();
    for path in &paths {
        let proof = disk::read_json(path)?;
        let machine = &proof["machine"];
        let text = |value: &Value| value.as_str().unwrap_or("unknown").to_string();
        let commit = text(&machine["commit"]);
        let mut said = vec![text(&machine["gpu"]), format!("commit {}", &commit[..commit.len().min(12)])];
        for part in proof["parts"].as_array().into_iter().flatten() {
            let figures = &part["figures"];
            let (Some(ours), Some(eager)) = (figures["images_per_s"].as_f64(), figures["against_eager"].as_f64())
            else {
                continue;
            };
            let step = &figures["ours"];
            let number = |key: &str| step[key].as_f64().with_context(|| format!("{}: no {key}", path.display()));
            let shape = [number("depth")?, number("width")?, number("sk")?, number("image_size")?, number("batch")?];
            let compiled = figures["against_compiled"].as_f64().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let mode = text(&step["mode"]);
            rows.push((shape[3], row([named(shape), mode, speed(ours), format!("{eager:.2}"), compiled])));
            said.push(format!("torch {}", text(&figures["eager"]["torch"])));
        }
        let said = said.join(", ");
        if !machines.contains(&said) {
            machines.push(said);
        }
    }
    ensure!(!rows.is_empty(), "{}: no {PROOF}*.json with figures of speed", folder.display());
    rows.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut out = row(["ResNet, pixels, batch", "numbers", "images/s", "times PyTorch", "times `torch.compile`"]);
    out += &rule(5, 2);
    rows.iter().for_each(|(_, row)| out += row);
    machines.sort();
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    out += &format!("\nn = 1; {} ([all figures](benches/runs/{name})).\n", machines.join("; "));
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_rounds() {
        let line = |side: &str, round: u64, speed: f64| {
            format!(
                "{{\"side\":\"{side}\",\"task\":\"t\",\"round\":{round},\"result\":{{\"images_per_s\":{speed},\"mode\":\"f32\",\
                 \"depth\":18,\"width\":0.25,\"sk\":0,\"image_size\":32,\"batch\":8,\"peak_rss_mib\":{}}}}}\n",
                if side == "ours" { 100 } else { 400 }
            )
        };
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("one");
        std::fs::create_dir(&folder).unwrap();
        let raw = [("ours", 1, 10.0), ("torch", 1, 5.0), ("ours", 2, 40.0), ("torch", 2, 10.0)];
        let raw: String = raw.iter().map(|(side, round, speed)| line(side, *round, *speed)).collect();
        std::fs::write(folder.join(RAW), raw).unwrap();
        let about = "# Beside PyTorch, 2026-11-25\n\n- command: `x`\n- processor: P, 2 threads\n- commit: 0123456789abcdef01, edited\n- rustc 1\n- torch 9\n";
        std::fs::write(folder.join(ABOUT), about).unwrap();
        let table = beside_torch(&folder).unwrap();
        // Ratios 2 and 4, speeds 10 and 40.
        assert!(table.contains("| 18, width 0.25, 32, 8 | 25.0 | 3.00 | 0.25 |"), "{table}");
        assert!(
            table.contains("n = 2, medians; 2026-11-25, P, 2 threads, commit 0123456789ab, edited; torch 9"),
            "{table}"
        );
    }
}
