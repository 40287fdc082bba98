//! `classify`: the likeliest classes of pictures, by a checkpoint's own classifier.

use crate::apply::{ApplyArgs, once};
use crate::calibration::{likeliest, probabilities};
use crate::output::{self, Format, csv, json_lines};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value as Json, json};
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::disk;
use simclr_model::ModelSpec;
use std::path::{Path, PathBuf};

/// What arrays of probabilities are called, and the list of files and classes in their metadata.
const PROBABILITIES: &str = "probabilities";
const ABOUT: &str = "about";

/// Options of `simclr-eval classify`.
#[derive(Clone, Debug, clap::Args)]
pub struct ClassifyArgs {
    /// What is classified by what
    #[command(flatten)]
    pub apply: ApplyArgs,

    /// How many of the likeliest classes are written; .safetensors and .npy hold all
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = cli::size(&bounds::COUNT))]
    pub top: usize,

    /// A text file with the name of a class in each line, in the place of the names that the network knows
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,

    /// Probabilities as the network gives them, though they were calibrated
    #[arg(long)]
    pub raw: bool,

    /// The file that is written: .csv, .jsonl, .safetensors or .npy [default: CSV on the standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Writes the likeliest classes of all pictures.
///
/// # Errors
/// When the checkpoint has no classifier, or files cannot be read or written.
pub fn classify(args: &ClassifyArgs) -> Result<()> {
    args.apply.on_ranks(|apply| on_rank(&ClassifyArgs { apply, ..args.clone() }))
}

fn on_rank(args: &ClassifyArgs) -> Result<()> {
    let format = args.out.as_deref().map(Format::of).transpose()?.unwrap_or(Format::Csv);
    let network = args.apply.load()?;
    let spec = &network.model.spec;
    let classes = spec.classes;
    ensure!(classes > 0, "{}: this network has no classifier; fine-tune it first", args.apply.checkpoint.display());
    ensure!((1..=classes).contains(&args.top), "--top {}: must be 1 to {classes}, the number of classes", args.top);
    let names = class_names(args.names.as_deref(), spec)?;
    let temperature = match &network.calibration {
        Some(found) if !args.raw => {
            tracing::info!(
                "probabilities are calibrated on {} held-out pictures: temperature {:.3} (--raw leaves it out)",
                found.examples,
                found.temperature
            );
            found.temperature
        }
        _ => 1.0,
    };
    let rows = args.apply.rows(&network, "classify", |model, images| model.predict(once(images)))?;
    if !args.apply.group.leads() {
        return Ok(());
    }
    let all: Vec<Vec<f64>> = rows.numbers.chunks(classes).map(|row| probabilities(row, temperature)).collect();
    let best = |i: usize| {
        let order = likeliest(&rows.numbers[i * classes..][..classes], args.top);
        order.into_iter().map(|class| (names[class].clone(), all[i][class] as f32)).collect()
    };
    let best: Vec<Vec<(String, f32)>> = (0..all.len()).map(best).collect();
    let out = args.out.as_deref();
    match (format, out) {
        (Format::Safetensors | Format::Npy, Some(out)) => {
            let numbers = all.iter().flatten().map(|p| *p as f32).collect();
            let about = json!({"files": rows.files, "classes": names});
            output::array(out, (numbers, classes), PROBABILITIES, (ABOUT, &about))
        }
        (Format::JsonLines, _) => output::bytes(out, &json_lines(rows.files.iter().zip(&best).map(line))),
        _ => output::bytes(out, &csv(table(&rows.files, &best, args.top))?),
    }
}

/// A picture as JSON: its likeliest classes, each with its probability.
fn line((file, best): (&String, &Vec<(String, f32)>)) -> Json {
    let classes = best.iter().map(|(class, probability)| json!({"class": class, "probability": probability}));
    json!({"file": file, "classes": classes.collect::<Vec<_>>()})
}

/// A header, and a row for each file: its `top` likeliest classes, each followed by its probability.
pub fn table(files: &[String], best: &[Vec<(String, f32)>], top: usize) -> Vec<Vec<String>> {
    let mut header = vec!["file".to_string(), "class".into(), "probability".into()];
    header.extend((2..=top).flat_map(|k| [format!("class_{k}"), format!("probability_{k}")]));
    let row = |(file, best): (&String, &Vec<(String, f32)>)| {
        let cells = best.iter().flat_map(|(class, probability)| [class.clone(), probability.to_string()]);
        std::iter::once(file.clone()).chain(cells).collect()
    };
    std::iter::once(header).chain(files.iter().zip(best).map(row)).collect()
}

fn class_names(file: Option<&Path>, spec: &ModelSpec) -> Result<Vec<String>> {
    let classes = spec.classes;
    let Some(file) = file else { return Ok((0..classes).map(|class| spec.class_name(class)).collect()) };
    let text = disk::read_small_text(file, bounds::SMALL_FILE).context("--names")?;
    let names: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
    if names.len() != classes {
        bail!("--names: {} names {} classes, the network knows {classes}", file.display(), names.len())
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn classes_by_falling_probability() {
        let logits = [0.0, 2.0, 0.0, 1000.0];
        assert_eq!(likeliest(&logits, 3), [3, 1, 0]);
        assert_eq!(probabilities(&logits, 1.0)[3], 1.0, "large logits do not overflow");
        let pair = [1.0, libm::logf(3.0) + 1.0];
        let [q, p] = probabilities(&pair, 1.0)[..] else { panic!("two classes") };
        assert!((p - 0.75).abs() < 1e-6 && (q - 0.25).abs() < 1e-6);
        assert!((probabilities(&pair, 0.5)[1] - 0.9).abs() < 1e-6, "a low temperature is surer");
    }

    #[test]
    fn names_of_classes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("names.txt");
        std::fs::write(&file, "cat\ndog\n").unwrap();
        let model = serde_json::from_str("{\"depth\": 18}").unwrap();
        let bare = ModelSpec::new(&model, 3, 32, 2, 0);
        assert_eq!(class_names(None, &bare).unwrap(), ["0", "1"]);
        let named = bare.named(&["2".to_string(), "10".to_string()]);
        assert_eq!(class_names(None, &named).unwrap(), ["2", "10"]);
        assert_eq!(class_names(Some(&file), &named).unwrap(), ["cat", "dog"], "a file of names comes first");
        let three = ModelSpec { classes: 3, ..named };
        let message = class_names(Some(&file), &three).unwrap_err().to_string();
        assert!(message.contains("names 2 classes, the network knows 3"), "{message}");
    }

    #[test]
    fn a_row_holds_classes_by_falling_probability() {
        let best = vec![vec![("cat".to_string(), 0.5), ("dog".to_string(), 0.25)]];
        let table = table(&["a.png".to_string()], &best, 2);
        assert_eq!(table[0], ["file", "class", "probability", "class_2", "probability_2"]);
        assert_eq!(table[1], ["a.png", "cat", "0.5", "dog", "0.25"]);
        let json = line((&"a.png".to_string(), &best[0])).to_string();
        assert_eq!(
            json,
            r#"{"classes":[{"class":"cat","probability":0.5},{"class":"dog","probability":0.25}],"file":"a.png"}"#
        );
    }
}
