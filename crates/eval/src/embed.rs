//! `embed`: the features that a checkpoint gives to a folder of pictures.

use crate::apply::{ApplyArgs, csv, make_folder_of, once};
use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use serde_json::json;
use simclr_core::disk;
use simclr_core::run::checkpoint;
use std::collections::BTreeMap;
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

    /// The file that is written, .safetensors or .csv
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Writes the features of all pictures.
///
/// # Errors
/// When the checkpoint or the pictures cannot be read, or the file not be written.
pub fn embed(args: &EmbedArgs) -> Result<()> {
    let kind = args.out.extension().and_then(|end| end.to_str()).unwrap_or_default();
    ensure!(["csv", "safetensors"].contains(&kind), "--out {}: must end in .safetensors or .csv", args.out.display());
    let model = args.apply.load()?;
    let width = model.projection.width(args.layer).context("--layer")?;
    let rows = args.apply.rows(&model, "embed", |model, images| model.features(once(images), args.layer))?;
    make_folder_of(&args.out)?;
    if kind == "csv" {
        let header = std::iter::once("file".to_string()).chain((0..width).map(|i| i.to_string())).collect();
        let row = |(file, numbers): (&String, &[f32])| {
            std::iter::once(file.clone()).chain(numbers.iter().map(f32::to_string)).collect()
        };
        let rows = rows.files.iter().zip(rows.numbers.chunks(width)).map(row);
        return disk::write(&args.out, &csv(std::iter::once(header).chain(rows))?);
    }
    let tensor = Tensor::from_vec(rows.numbers, (rows.files.len(), width), &Device::Cpu)?;
    let tensors = BTreeMap::from([(FEATURES.to_string(), tensor)]);
    checkpoint::write_tensors(&args.out, &tensors, (FILES, &json!(rows.files).to_string()))
}
