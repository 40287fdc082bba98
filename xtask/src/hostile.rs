//! `hostile`: more than a thousand malformed inputs, and what the programs make of them.
//!
//! Each input is made here, in code, from small runs of the programs themselves; with it stands what must come of it. A program
//! that panics, aborts, does not end, takes what it should refuse, or refuses it by a message that does not say what is wrong,
//! is a failure; the command that repeats it is written down.

mod bytes;
mod case;
mod checkpoints;
mod command_lines;
mod descriptions;
mod experiments;
mod judge;
mod pictures;
mod seeds;
mod shards;
mod states;
mod tensorflow;

use crate::readable::duration;
use crate::soak::Draws;
use crate::stages;
use crate::workspace::{Binaries, Extras};
use anyhow::{Context, Result, ensure};
use case::{Case, Seeds};
use judge::{Judged, Verdict, judge};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The programs that get inputs, beside those of stages.
const IMPORTS: &str = "simclr-model";

/// What makes the cases of one kind.
type Family = fn(&Seeds) -> Result<Vec<Case>>;

/// Every kind of input.
const FAMILIES: [(&str, Family); 6] = [
    ("checkpoints", checkpoints::cases),
    ("state", states::cases),
    ("experiments", experiments::cases),
    ("tensorflow", tensorflow::cases),
    ("pictures", pictures::cases),
    ("command-line", command_lines::cases),
];

/// Arguments of `hostile`.
#[derive(clap::Args)]
pub struct Args {
    /// Which kinds of input: checkpoints, state, experiments, tensorflow, pictures, command-line [default: all]
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    families: Vec<String>,
    /// So many of the inputs, some of each kind, instead of all
    #[arg(long, value_name = "N")]
    sample: Option<usize>,
    /// Which sample
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Inputs whose name holds this text alone
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Programs that run at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The folder for inputs; those of failures stay, and failures.txt tells of them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Args {
    /// A sample of so many inputs.
    pub fn sample(count: usize) -> Self {
        Self { families: vec![], sample: Some(count), seed: 0, only: None, jobs: 2, out: None }
    }
}

/// Runs programs on malformed inputs and prints a table by kind.
///
/// # Errors
/// When the build fails, when an input cannot be made, and when any of them is a failure.
pub fn run(args: &Args) -> Result<()> {
    ensure!(cfg!(unix), "hostile: pipes and limits of memory are Unix's; run it on Linux");
    let known: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
    let unknown = args.families.iter().find(|name| !known.contains(&name.as_str()));
    ensure!(unknown.is_none(), "--families {}: must be among {}", unknown.map_or("", |n| n), known.join(", "));
    let programs = [stages::programs().as_slice(), &[IMPORTS]].concat();
    // As `reproduce` builds them: what parquet files and the hub add has tests of its own.
    let binaries = Binaries::build(&programs, "cpu", Extras::Without)?;
    let temporary = std::env::temp_dir().join(format!("simclr-hostile-{}", std::process::id()));
    let out = std::path::absolute(args.out.clone().unwrap_or(temporary)).context("--out")?;
    ensure!(!out.exists(), "{} is there already: choose another --out, or remove it", out.display());
    let start = Instant::now();
    let seeds = seeds::make(&binaries, out.join("seeds"))?;
    let mut cases = Vec::new();
    for (name, family) in FAMILIES {
        if args.families.is_empty() || args.families.iter().any(|wanted| wanted == name) {
            cases.extend(family(&seeds)?);
        }
    }
    number(&mut cases);
    if let Some(text) = &args.only {
        cases.retain(|case| case.name.contains(text.as_str()));
    }
    let whole = cases.len();
    if let Some(count) = args.sample {
        cases = sample(cases, count, args.seed);
    }
    say!("{} of {whole} inputs, made in {}", cases.len(), duration(start.elapsed().as_secs_f64()));
    let judged = judge_all(&cases, &binaries, args.jobs.max(1), &out)?;
    let failures = tell(&cases, &judged);
    let list = out.join("failures.txt");
    if failures.is_empty() {
        say!("no failure in {}", duration(start.elapsed().as_secs_f64()));
        return if args.out.is_some() {
            Ok(())
        } else {
            std::fs::remove_dir_all(&out).with_context(|| format!("removing {}", out.display()))
        };
    }
    std::fs::write(&list, failures.join("\n")).with_context(|| format!("writing {}", list.display()))?;
    failures.iter().take(12).for_each(|failure| say!("{failure}"));
    anyhow::bail!(
        "{} of {} inputs fail; {} has each, and how to repeat it",
        failures.len(),
        cases.len(),
        list.display()
    )
}

/// Two cases of one name would share a folder: the later one gets a number.
fn number(cases: &mut [Case]) {
    let mut seen: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for case in cases {
        let times = seen.entry((case.family, case.name.clone())).or_default();
        *times += 1;
        if *times > 1 {
            case.name = format!("{}~{times}", case.name);
        }
    }
}

/// So many cases, of each family its share and one at least.
fn sample(cases: Vec<Case>, count: usize, seed: u64) -> Vec<Case> {
    let (whole, mut draws) = (cases.len(), Draws::new(seed));
    let mut families: BTreeMap<&'static str, Vec<Case>> = BTreeMap::new();
    for case in cases {
        families.entry(case.family).or_default().push(case);
    }
    let mut out = Vec::new();
    for mut own in families.into_values() {
        for _ in 0..(own.len() * count).div_ceil(whole.max(1)).min(own.len()) {
            out.push(own.swap_remove(draws.below(own.len())));
        }
    }
    out
}

fn judge_all(cases: &[Case], binaries: &Binaries, jobs: usize, out: &std::path::Path) -> Result<Vec<Judged>> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<()> {
        while let Some((i, case)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, cases.get(i)?))) {
            let dir = out.join(case.family).join(&case.name);
            let judged = judge(case, binaries, &dir).with_context(|| format!("case {}/{}", case.family, case.name))?;
            if judged.verdict == Verdict::Good {
                std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
            }
            if let Ok(mut found) = found.lock() {
                found.push((i, judged));
            }
        }
        Ok(())
    };
    let ended: Vec<Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| anyhow::bail!("a worker panicked"))).collect()
    });
    ended.into_iter().collect::<Result<()>>()?;
    let mut found = found.into_inner().unwrap_or_default();
    found.sort_by_key(|(i, _)| *i);
    Ok(found.into_iter().map(|(_, judged)| judged).collect())
}

/// Prints the table by family, and gives what is to be said of each failure.
fn tell(cases: &[Case], judged: &[Judged]) -> Vec<String> {
    let names: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
    let head: String = Verdict::ALL.iter().map(|verdict| format!("{:>9}", verdict.name())).collect();
    say!("{:<14}{:>8}{head}", "", "inputs");
    for family in names {
        let own: Vec<&Judged> = cases.iter().zip(judged).filter(|(c, _)| c.family == family).map(|(_, j)| j).collect();
        let count = |verdict: &Verdict| own.iter().filter(|judged| judged.verdict == *verdict).count();
        let counts: String = Verdict::ALL.iter().map(|verdict| format!("{:>9}", count(verdict))).collect();
        say!("{family:<14}{:>8}{counts}", own.len());
    }
    let failed = cases.iter().zip(judged).filter(|(_, judged)| judged.verdict != Verdict::Good);
    let line = |(case, judged): (&Case, &Judged)| {
        format!("{}: {}/{}\n    {}\n    {}", judged.verdict.name(), case.family, case.name, judged.why, judged.command)
    };
    failed.map(line).collect()
}
