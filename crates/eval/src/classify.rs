//! `classify`: the likeliest classes of a folder of pictures, by a checkpoint's own classifier.

use crate::apply::{ApplyArgs, csv, make_folder_of, once};
use anyhow::{Context, Result, bail, ensure};
use simclr_core::disk;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `simclr-eval classify`.
#[derive(Clone, Debug, clap::Args)]
pub struct ClassifyArgs {
    /// What is classified by what
    #[command(flatten)]
    pub apply: ApplyArgs,

    /// How many of the likeliest classes are written
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub top: usize,

    /// A text file with the name of a class in each line, written in the place of its number
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,

    /// The CSV file that is written [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Writes the likeliest classes of all pictures.
///
/// # Errors
/// When the checkpoint has no classifier, or files cannot be read or written.
pub fn classify(args: &ClassifyArgs) -> Result<()> {
    let model = args.apply.load()?;
    let classes = model.spec.classes;
    ensure!(classes > 0, "{}: this network has no classifier; fine-tune it first", args.apply.checkpoint.display());
    ensure!((1..=classes).contains(&args.top), "--top {}: must be 1 to {classes}, the number of classes", args.top);
    let names = class_names(args.names.as_deref(), classes)?;
    let rows = args.apply.rows(&model, "classify", |model, images| model.predict(once(images)))?;
    let text = csv(table(&rows.files, &rows.numbers, &names, args.top))?;
    match &args.out {
        None => std::io::stdout().write_all(&text).context("writing to the standard output"),
        Some(out) => {
            make_folder_of(out)?;
            disk::write(out, &text)
        }
    }
}

/// A header, and a row for each file: its `top` likeliest classes, each followed by its probability.
fn table(files: &[String], logits: &[f32], names: &[String], top: usize) -> Vec<Vec<String>> {
    let mut header = vec!["file".to_string(), "class".into(), "probability".into()];
    header.extend((2..=top).flat_map(|k| [format!("class_{k}"), format!("probability_{k}")]));
    let row = |(file, logits): (&String, &[f32])| {
        let classes = likeliest(logits, top).into_iter();
        let cells = classes.flat_map(|(class, probability)| [names[class].clone(), probability.to_string()]);
        std::iter::once(file.clone()).chain(cells).collect()
    };
    std::iter::once(header).chain(files.iter().zip(logits.chunks(names.len())).map(row)).collect()
}

fn class_names(file: Option<&Path>, classes: usize) -> Result<Vec<String>> {
    let Some(file) = file else { return Ok((0..classes).map(|class| class.to_string()).collect()) };
    let text = std::fs::read_to_string(file).with_context(|| format!("--names: cannot read {}", file.display()))?;
    let names: Vec<String> = text.lines().map(|line| line.trim().to_string()).collect();
    if names.len() != classes {
        bail!("--names: {} names {} classes, the network knows {classes}", file.display(), names.len())
    }
    Ok(names)
}

/// Classes by falling logit with their softmax; of equal ones the lower number first.
fn likeliest(logits: &[f32], count: usize) -> Vec<(usize, f32)> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let odds: Vec<f64> = logits.iter().map(|logit| libm::exp(f64::from(logit - most))).collect();
    let sum: f64 = odds.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order.into_iter().take(count).map(|class| (class, (odds[class] / sum) as f32)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn probabilities() {
        let rows = likeliest(&[0.0, 2.0, 0.0, 1000.0], 3);
        assert_eq!(rows.iter().map(|(class, _)| *class).collect::<Vec<_>>(), [3, 1, 0]);
        assert_eq!(rows[0].1, 1.0, "large logits do not overflow");
        let [(one, p), (zero, q)] = likeliest(&[1.0, libm::logf(3.0) + 1.0], 2)[..] else { panic!("two classes") };
        assert_eq!((one, zero), (1, 0));
        assert!((p - 0.75).abs() < 1e-6 && (q - 0.25).abs() < 1e-6);
    }

    #[test]
    fn names_of_classes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("names.txt");
        std::fs::write(&file, "cat\ndog\n").unwrap();
        assert_eq!(class_names(Some(&file), 2).unwrap(), ["cat", "dog"]);
        assert_eq!(class_names(None, 2).unwrap(), ["0", "1"]);
        assert!(class_names(Some(&file), 3).unwrap_err().to_string().contains("names 2 classes, the network knows 3"));
    }

    #[test]
    fn a_row_holds_classes_by_falling_probability() {
        let names = ["cat".to_string(), "dog".to_string()];
        let table = table(&["a.png".to_string()], &[0.0, 0.0], &names, 2);
        assert_eq!(table[0], ["file", "class", "probability", "class_2", "probability_2"]);
        assert_eq!(table[1], ["a.png", "cat", "0.5", "dog", "0.5"]);
    }
}
