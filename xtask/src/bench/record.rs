//! A comparison's folder: raw figures, and a page with the table and what it was measured with.

use super::figures::Figures;
use crate::machine;
use crate::workspace::root;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

const RAW: &str = "raw.jsonl";
const PAGE: &str = "README.md";

/// What a figure depends on besides the code's own doing.
pub struct Machine {
    date: String,
    processor: String,
    /// Threads that both sides get.
    pub threads: usize,
    rustc: String,
    peer: String,
    commit: String,
}

impl Machine {
    /// This machine, today (UTC); `peer` has the versions of the other side.
    pub fn here(peer: &str) -> Self {
        let commit = machine::commit();
        Self {
            date: machine::today(),
            processor: machine::processor(),
            threads: machine::threads(),
            rustc: machine::output("rustc", &["--version"]).unwrap_or_else(|| "unknown".into()),
            peer: peer.into(),
            commit: match commit {
                Some((commit, true)) => format!("{commit} and uncommitted changes"),
                Some((commit, false)) => commit,
                None => "unknown".into(),
            },
        }
    }

    /// Date and machine as the name of a folder.
    fn slug(&self) -> String {
        let name = format!("{}-{}-{}-cores", self.date, self.processor, self.threads);
        let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-").to_lowercase()
    }
}

/// A new folder: `chosen`, or one for today and this machine. Runs are kept side by side, none is written over.
///
/// # Errors
/// When there is a comparison in `chosen`, or it cannot be made.
pub fn folder(chosen: Option<&Path>, machine: &Machine) -> Result<PathBuf> {
    let folder = match chosen {
        Some(chosen) => {
            ensure!(!chosen.join(RAW).exists(), "--out {}: a comparison is there already", chosen.display());
            chosen.to_path_buf()
        }
        None => {
            let first = root().join("benches/runs").join(machine.slug());
            let numbered = (2..).map(|n| PathBuf::from(format!("{}-{n}", first.display())));
            std::iter::once(first.clone()).chain(numbered).find(|path| !path.exists()).unwrap_or(first)
        }
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Adds a line to the raw figures.
///
/// # Errors
/// When it cannot be written.
pub fn append(folder: &Path, entry: &Value) -> Result<()> {
    let path = folder.join(RAW);
    let file = std::fs::File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{entry}")).with_context(|| format!("writing {}", path.display()))
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // The mean of the two in the middle, where their number is even.
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// The comparison in Markdown. A ratio is the median of the rounds' own ratios: both runs of a round see the same
/// weather on the machine.
pub fn table(results: &[Figures]) -> String {
    let mut out = String::from(
        "| task | numbers | ours, images/s | torch, images/s | ours / torch | ours, MiB | torch, MiB | memory, ours / torch |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for f in results {
        let cell = |value: Option<f64>, digits: usize| value.map_or_else(String::new, |v| format!("{v:.digits$}"));
        let ratio = |a: &[f64], b: &[f64]| median(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>());
        out += &format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n",
            f.task,
            f.dtype,
            cell(median(&f.ours), 1),
            cell(median(&f.theirs), 1),
            cell(ratio(&f.ours, &f.theirs), 2),
            cell(median(&f.our_memory), 0),
            cell(median(&f.their_memory), 0),
            cell(ratio(&f.our_memory, &f.their_memory), 2),
        );
    }
    out
}

/// The command line as anybody could give it: what names a place on this machine stands as the option's value in `--help`.
fn command(arguments: impl Iterator<Item = String>, places: &[(&Path, &str)]) -> String {
    let general = |argument: String| {
        let of = |(place, name): &(&Path, &str)| {
            let option = argument.strip_suffix(place.to_str()?)?;
            (option.is_empty() || option.ends_with('=')).then(|| format!("{option}{name}"))
        };
        places.iter().find_map(of).unwrap_or(argument)
    };
    std::iter::once("cargo xtask".into()).chain(arguments.map(general)).collect::<Vec<_>>().join(" ")
}

/// Writes the page beside the raw figures. The command line that it shows has names in the stead of `places`, which are this
/// machine's.
///
/// # Errors
/// When it cannot be written.
pub fn readme(folder: &Path, machine: &Machine, table: &str, places: &[(&Path, &str)]) -> Result<()> {
    let text = format!(
        "# Beside PyTorch, {}\n\n{table}\n\
         Medians of the runs in [{RAW}]({RAW}); ours and theirs ran in turn.\n\n\
         - command: `{}`\n\
         - processor: {}, {} threads for steps, one for views\n\
         - commit: {}\n\
         - {}\n\
         - {}\n",
        machine.date,
        command(std::env::args().skip(1), places),
        machine.processor,
        machine.threads,
        machine.commit,
        machine.rustc,
        machine.peer,
    );
    let path = folder.join(PAGE);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_no_place_of_this_machine() {
        let said = |line: &str| {
            let places = [(Path::new("/home/me/py"), "PYTHON"), (Path::new("/tmp/out"), "OUT")];
            command(line.split(' ').map(String::from), &places)
        };
        assert_eq!(
            said("bench compare --python /home/me/py --out=/tmp/out --steps 3"),
            "cargo xtask bench compare --python PYTHON --out=OUT --steps 3"
        );
        assert_eq!(said("bench compare --only resnet"), "cargo xtask bench compare --only resnet");
    }

    #[test]
    fn a_folder_is_called_after_date_and_machine() {
        let slug = Machine::here("").slug();
        let date: Vec<&str> = slug.split('-').take(3).collect();
        assert!(date.join("-").parse::<jiff::civil::Date>().is_ok() && slug.ends_with("-cores"), "{slug}");
    }

    #[test]
    fn a_ratio_is_that_of_the_rounds() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
    }
}
