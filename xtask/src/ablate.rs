//! `ablate KEY=V1,V2,...`: which value of a key is best, and which is the cheapest that is as good; values that are clearly behind get no
//! further seeds.

use crate::layout;
use crate::readable::duration;
use crate::reproduce::grid::Grid;
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use toml::{Table, Value};

/// Values that go on when half of them must go, at the least.
const FEWEST: usize = 2;
/// Seeds before a value may be dropped.
const FIRST: usize = 2;

/// Arguments of `ablate`.
#[derive(clap::Args)]
pub struct Args {
    /// A key of the experiment and its values: pretrain.temperature=0.1,0.25,0.5
    #[arg(value_name = "KEY=V1,V2")]
    values: String,
    /// The experiment that is varied
    #[arg(long, default_value = "configs/experiments/base/textures.toml")]
    config: PathBuf,
    /// Seeds of each value, at the most
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// Hours after which no seed begins; when time runs short, the worse half of the values goes first
    #[arg(long, value_name = "H")]
    budget: Option<f64>,
    /// What counts: finetuned, supervised, linear-eval, knn or distilled-NAME
    #[arg(long, default_value = "finetuned")]
    method: String,
    /// On how many labels [default: the fewest of the experiment; all for linear-eval and knn]
    #[arg(long, value_name = "AMOUNT")]
    labels: Option<String>,
    /// Change another key for all values
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// auto, cpu, cuda, cuda:N, or several (cuda:0,cuda:1), which then compute a stage each
    #[arg(long, default_value = "auto")]
    device: String,
    /// Run so many stages at once, on equal shares of the threads
    #[arg(long, value_name = "N")]
    at_once: Option<usize>,
    /// Threads of all stages at work
    #[arg(long)]
    threads: Option<usize>,
    /// The folder of the runs, which all grids share [default: runs/pool]
    #[arg(long, value_name = "DIR")]
    pool: Option<PathBuf>,
    /// The folder of the page [default: runs/experiments/ablate-KEY]
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Args {
    /// Two values of a key with two seeds, two runs at a time, all below `folder`: to see that it works.
    pub fn sample(config: PathBuf, values: &str, folder: &Path) -> Self {
        Self {
            values: values.into(),
            config,
            seeds: 2,
            budget: None,
            method: "finetuned".into(),
            labels: None,
            set: vec![],
            device: "cpu".into(),
            at_once: Some(2),
            threads: None,
            pool: Some(folder.join("pool")),
            out: Some(folder.join("ablation")),
        }
    }
}

/// A value beside the best, as `simclr-eval study standing` tells.
#[derive(Clone, Debug, Deserialize)]
struct Place {
    cell: String,
    top1: f64,
    behind: f64,
    interval: Option<[f64; 2]>,
    is_behind: bool,
}

/// Runs the ablation and writes its page.
///
/// # Errors
/// When the key or a value is not valid, the build fails, or a run does.
pub fn run(args: &Args) -> Result<()> {
    let (key, values) = parse(&args.values)?;
    ensure!(args.seeds > 0, "--seeds 0: must be at least 1");
    ensure!(args.budget.is_none_or(|hours| hours > 0.0), "--budget: must be above 0 hours");
    let config = workspace::find(&args.config)?.canonicalize().context("the experiment's file")?;
    let labels = match &args.labels {
        Some(labels) => labels.clone(),
        None => labels_of(&config, &args.method)?,
    };
    let out = args.out.clone().unwrap_or_else(|| Path::new(layout::STUDIES).join(format!("ablate-{key}")));
    std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    let file = out.join(format!("ablate-{key}.toml"));
    let study = study(&key, &values, (&config, &args.method, &labels), args.seeds)?;
    std::fs::write(&file, study).with_context(|| format!("writing {}", file.display()))?;

    let (device, set) = (args.device.clone(), args.set.clone());
    let (at_once, threads) = (args.at_once, args.threads);
    let folders = (args.pool.as_deref(), out.as_path());
    let grid = Grid::build((&file, layout::ABLATION), folders, set, (device, at_once, threads))?;
    let mut alive: Vec<String> = values.iter().map(|(name, _)| name.clone()).collect();
    let (start, budget) = (Instant::now(), args.budget.map(|hours| Duration::from_secs_f64(3600.0 * hours)));
    for seed in 0..args.seeds {
        say!("\nseed {seed}: {key} = {}", alive.join(", "));
        let begun = Instant::now();
        grid.run(&alive, &[seed])?;
        let seeds: Vec<u64> = (0..=seed).collect();
        let json = grid.ask("standing", (&alive, &seeds), &["--method", &args.method, "--labels", &labels])?;
        let places: Vec<Place> = serde_json::from_str(&json).context("the standing is not as expected")?;
        let left = args.seeds - seed - 1;
        // A round that was there already tells nothing of what the next one takes.
        let needed = begun.elapsed() * u32::try_from(left).unwrap_or(u32::MAX);
        let short = budget.is_some_and(|budget| start.elapsed() + needed > budget);
        let before = alive.len();
        alive = survivors(&places, seeds.len(), short);
        for place in places.iter().filter(|place| !alive.contains(&place.cell)) {
            let why = match place.interval {
                Some([low, high]) if place.is_behind => {
                    format!("clearly behind, {:.2} points [{low:.2}, {high:.2}]", place.behind)
                }
                _ => format!("in the worse half at {:.2} %, and time is short", place.top1),
            };
            say!("  {} is dropped: {why}", place.cell);
        }
        if left > 0 && alive.len() == 1 {
            say!("one value of {before} is left: no more seeds are needed");
            break;
        }
        if left > 0 && budget.is_some_and(|budget| start.elapsed() >= budget) {
            say!(
                "the {} of --budget are over; the same command with more goes on",
                duration(start.elapsed().as_secs_f64())
            );
            break;
        }
    }
    let seeds: Vec<u64> = (0..args.seeds).collect();
    grid.report((&[], &seeds), &["--ablation", &key, &args.method, &labels])?;
    say!("{} in all", duration(start.elapsed().as_secs_f64()));
    Ok(())
}

/// Who gets another seed: those that are not clearly behind, and where time is short the better half of them.
fn survivors(places: &[Place], seeds: usize, short: bool) -> Vec<String> {
    let clear = |place: &&Place| seeds < FIRST || !place.is_behind;
    let mut left: Vec<String> = places.iter().filter(clear).map(|place| place.cell.clone()).collect();
    if short {
        left.truncate(left.len().div_ceil(2).max(FEWEST));
    }
    left
}

/// The key, and each value with a short name.
fn parse(text: &str) -> Result<(String, Vec<(String, Value)>)> {
    let expected = "expected KEY=V1,V2, such as pretrain.temperature=0.1,0.25";
    let (key, list) = text.split_once('=').with_context(|| format!("{text}: {expected}"))?;
    let key = key.trim();
    ensure!(!key.is_empty() && key.split('.').all(|part| !part.is_empty()), "{text}: {expected}");
    let mut values: Vec<(String, Value)> = Vec::new();
    for word in split(list) {
        let word = word.trim();
        ensure!(!word.is_empty(), "{text}: a value is missing; {expected}");
        let parsed = format!("value = {word}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
        let value = parsed.unwrap_or_else(|| Value::String(word.into()));
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+".contains(c);
        let name: String = word.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        ensure!(values.iter().all(|(other, _)| *other != name), "{text}: {word} stands twice");
        values.push((name, value));
    }
    ensure!(values.len() > 1, "{text}: at least two values are needed");
    Ok((key.into(), values))
}

/// At commas outside of brackets and quotes.
fn split(list: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut from, mut parts) = (0i32, false, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '[' | '{' if !quoted => depth += 1,
            ']' | '}' if !quoted => depth -= 1,
            ',' if depth == 0 && !quoted => {
                parts.push(&list[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[from..]);
    parts
}

/// The fewest labels that the experiment runs; methods that use all, have all.
fn labels_of(config: &Path, method: &str) -> Result<String> {
    if ["linear-eval", "knn"].contains(&method) {
        return Ok("1.0".into());
    }
    let text = std::fs::read_to_string(config).with_context(|| format!("reading {}", config.display()))?;
    let table: Table = text.parse().with_context(|| format!("{} is not TOML", config.display()))?;
    let first = table.get("reproduce").and_then(|t| t.get("labels")).and_then(|list| list.get(0)).cloned();
    match first {
        Some(Value::String(words)) => Ok(words),
        Some(number @ (Value::Float(_) | Value::Integer(_))) => Ok(number.to_string()),
        None => Ok("0.01".into()),
        Some(other) => bail!("{}: reproduce.labels begins with {other}", config.display()),
    }
}

/// The study of one key.
fn study(
    key: &str,
    values: &[(String, Value)],
    (config, method, labels): (&Path, &str, &str),
    seeds: u64,
) -> Result<String> {
    let nested = |value: &Value| {
        let wrap = |inner: Value, part: &str| Value::Table(Table::from_iter([(part.to_string(), inner)]));
        key.split('.').rev().fold(value.clone(), wrap)
    };
    let value = |(name, value): &(String, Value)| {
        Value::Table(Table::from_iter([
            ("name".to_string(), Value::String(name.clone())),
            ("set".into(), nested(value)),
        ]))
    };
    let text = |text: &str| Value::String(text.into());
    let axis = Table::from_iter([
        ("name".to_string(), text("value")),
        ("title".into(), text(key)),
        ("values".into(), Value::Array(values.iter().map(value).collect())),
    ]);
    let amount = labels.parse::<f64>().map_or_else(|_| text(labels), Value::Float);
    let mut scale = Table::from_iter([
        ("base".to_string(), text(&config.display().to_string())),
        ("seeds".into(), Value::Array((0..seeds as i64).map(Value::Integer).collect())),
    ]);
    if !["linear-eval", "knn"].contains(&method) {
        let set = Table::from_iter([("labels".to_string(), Value::Array(vec![amount]))]);
        scale.insert("set".into(), Value::Table(Table::from_iter([("reproduce".to_string(), Value::Table(set))])));
    }
    let study = Table::from_iter([
        ("title".to_string(), text(&format!("Ablation of {key}"))),
        ("question".into(), text(&format!("Which {key} is best, and which is the cheapest that is as good?"))),
        ("measure".into(), Value::Array(vec![text(method)])),
        ("axis".into(), Value::Array(vec![Value::Table(axis)])),
        ("scale".into(), Value::Table(Table::from_iter([(layout::ABLATION.to_string(), Value::Table(scale))]))),
    ]);
    toml::to_string(&study).context("writing the ablation")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn place(cell: &str, behind: f64, interval: Option<[f64; 2]>) -> Place {
        let is_behind = interval.is_some_and(|[low, _]| low > 0.0);
        Place { cell: cell.into(), top1: 50.0, behind, interval, is_behind }
    }

    #[test]
    fn values_are_toml_or_words() {
        let (key, values) = parse("pretrain.training.optimizer=sgd,lars,{name=\"adam\", beta_2=0.98}").unwrap();
        assert_eq!(key, "pretrain.training.optimizer");
        let names: Vec<_> = values.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["sgd", "lars", "_name__adam___beta_2_0.98_"]);
        assert!(values[0].1.is_str() && values[2].1.is_table());
        let (_, numbers) = parse("a.b=0.1,1").unwrap();
        assert!(numbers[0].1.is_float() && numbers[1].1.is_integer());
        for (text, said) in [
            ("a.b", "expected KEY"),
            ("a=1", "at least two"),
            ("a=1,1", "twice"),
            ("a=1,,2", "missing"),
            ("a..b=1,2", "expected"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(said), "{text}: {message}");
        }
    }

    #[test]
    fn who_is_clearly_behind_goes_and_when_time_is_short_the_worse_half() {
        let places = [
            place("a", 0.0, None),
            place("b", 0.5, Some([-1.0, 2.0])),
            place("c", 1.0, Some([-0.5, 2.5])),
            place("d", 2.0, Some([-0.1, 4.1])),
            place("e", 9.0, Some([8.0, 10.0])),
        ];
        assert_eq!(survivors(&places, 3, false), ["a", "b", "c", "d"]);
        assert_eq!(survivors(&places, 1, false).len(), 5, "one seed tells nothing");
        assert_eq!(survivors(&places, 3, true), ["a", "b"]);
        assert_eq!(survivors(&places[..2], 3, true), ["a", "b"], "two go on to the end");
    }

    #[test]
    fn the_study_is_one_axis() {
        let (key, values) = parse("finetune.proj_selector=0,1").unwrap();
        let text = study(&key, &values, (Path::new("/c.toml"), "finetuned", "0.01"), 3).unwrap();
        let table: Table = text.parse().unwrap();
        assert_eq!(table["axis"][0]["values"][1]["set"]["finetune"]["proj_selector"].as_integer(), Some(1));
        let scale = &table["scale"][layout::ABLATION];
        assert_eq!(scale["seeds"].as_array().unwrap().len(), 3);
        assert_eq!(scale["set"]["reproduce"]["labels"][0].as_float(), Some(0.01));
    }
}
