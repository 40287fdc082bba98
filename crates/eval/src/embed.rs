//! `embed`: the features that a checkpoint gives to pictures.

use crate::apply::{ApplyArgs, once};
use crate::output::{self, Format, csv, json_lines};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::PathBuf;

/// Names of the tensor of features, and of the list of files in the metadata of its file.
const FEATURES: &str = "features";
const FILES: &str = "files";

/// Options of `simclr-eval embed`.
#[derive(Clone, Debug, clap::Args)]
pub struct EmbedArgs {
    /// What is embedded by what
    #[command(flatten)]
    pub apply: ApplyArgs,

    /// Layer of the projection head: 0 for the encoder's features, -1 for the head's output
    #[arg(long, value_name = "LAYER", default_value_t = 0, allow_negative_numbers = true)]
    pub layer: i64,

    /// The file that is written: .safetensors, .npy, .csv or .jsonl
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Writes the features of all pictures.
///
/// # Errors
/// When the checkpoint or the pictures cannot be read, or the file not be written.
pub fn embed(args: &EmbedArgs) -> Result<()> {
    args.apply.on_ranks(|apply| on_rank(&EmbedArgs { apply, ..args.clone() }))
}

fn on_rank(args: &EmbedArgs) -> Result<()> {
    let format = Format::of(&args.out)?;
    let network = args.apply.load()?;
    let width = network.model.projection.width(args.layer).context("--layer")?;
    let rows = args.apply.rows(&network, "embed", |model, images| model.features(once(images), args.layer))?;
    if !args.apply.group.leads() {
        return Ok(());
    }
    let each = || rows.files.iter().zip(rows.numbers.chunks(width));
    match format {
        Format::Csv => {
            let header = std::iter::once("file".to_string()).chain((0..width).map(|i| i.to_string())).collect();
            let row = |(file, numbers): (&String, &[f32])| {
                std::iter::once(file.clone()).chain(numbers.iter().map(f32::to_string)).collect()
            };
            output::bytes(Some(&args.out), &csv(std::iter::once(header).chain(each().map(row)))?)
        }
        Format::JsonLines => {
            let row = |(file, numbers): (&String, &[f32])| json!({"file": file, "features": numbers});
            output::bytes(Some(&args.out), &json_lines(each().map(row)))
        }
        Format::Safetensors | Format::Npy => {
            let files = json!(rows.files);
            output::array(&args.out, (rows.numbers, width), FEATURES, (FILES, &files))
        }
    }
}
