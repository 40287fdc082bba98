//! What a downstream user does with a checkpoint: features and predictions for a folder of pictures.

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use serde_json::json;
use simclr_core::cli::{DeviceChoice, compute_with};
use simclr_core::cli::{Progress, ProgressMode};
use simclr_core::config::{Corrupt, EvalConfig, Resize};
use simclr_core::disk;
use simclr_core::run::checkpoint;
use simclr_data::source::folder;
use simclr_data::{Pictures, ViewMaker, eval_batches};
use simclr_model::SimClr;
use simclr_stage::{Checkpoint, uploader};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Names of the tensor of features, and of the list of files in the metadata of its file.
const FEATURES: &str = "features";
const FILES: &str = "files";

/// A checkpoint, pictures, and how it is shown them.
#[derive(Clone, Debug, clap::Args)]
pub struct ApplyArgs {
    /// The network: a run folder, a checkpoint folder, a model.safetensors or hf://OWNER/NAME[@REV]
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,

    /// Pictures (JPEG, PNG, WebP): one flat folder, or folders in it
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,

    /// Side that pictures are resized to [default: that of the network's training]
    #[arg(long, value_name = "PIXELS")]
    pub image_size: Option<usize>,

    /// Central crop's share of the shorter side; views of at most 32 pixels are not cropped
    #[arg(long, value_name = "SHARE", default_value_t = EvalConfig::default().crop)]
    pub crop: f32,

    /// Whose bicubic resize: tf2, or tf1 for checkpoints that were imported from the authors' TF1 code
    #[arg(long, value_name = "WHOSE", default_value = "tf2", value_parser = resize)]
    pub resize: Resize,

    /// Pictures a forward pass
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub batch: usize,

    /// End with an error at the first damaged picture, instead of naming it in the log and leaving it out
    #[arg(long)]
    pub strict: bool,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,

    /// Threads to compute with [default: one for each core]; results do not depend on it
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// How progress is shown
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub progress: ProgressMode,
}

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

fn resize(text: &str) -> Result<Resize, String> {
    match text {
        "tf2" => Ok(Resize::Tf2),
        "tf1" => Ok(Resize::Tf1),
        _ => Err("expected tf1 or tf2".into()),
    }
}

/// One row of numbers for each picture that could be decoded, and the picture's path below the folder.
struct Rows {
    files: Vec<String>,
    numbers: Vec<f32>,
}

impl ApplyArgs {
    fn load(&self) -> Result<SimClr> {
        ensure!(self.batch > 0, "--batch 0: must be at least 1");
        ensure!(self.image_size != Some(0), "--image-size 0: must be at least 1");
        ensure!(self.crop > 0.0 && self.crop <= 1.0, "--crop {}: must be in (0, 1]", self.crop);
        compute_with(self.threads)?;
        Checkpoint::load(&self.checkpoint)?.model()?.on(&self.device.open()?)
    }

    fn rows(&self, model: &SimClr, title: &str, run: impl Fn(&SimClr, Tensor) -> Result<Vec<f32>>) -> Result<Rows> {
        let corrupt = if self.strict { Corrupt::Fail } else { Corrupt::Skip };
        let pictures = folder::pictures(&self.images, model.spec.in_channels, corrupt).context("--images")?;
        let eval = EvalConfig { crop: self.crop, resize: self.resize, ..EvalConfig::default() };
        let maker = ViewMaker::eval(&eval, self.image_size.unwrap_or(model.spec.image_size));
        let samples: Vec<u32> = (0..pictures.len() as u32).collect();
        let mut progress = Progress::new(title, pictures.len() as u64, self.progress);
        let (clock, mut rows) = (Instant::now(), Rows { files: Vec::new(), numbers: Vec::new() });
        let uploader = uploader(model)?;
        for batch in eval_batches(&pictures, &samples, &maker, self.batch) {
            let batch = batch?;
            let last = batch.samples.last().map_or(0, |sample| u64::from(*sample) + 1);
            rows.files.extend(batch.samples.iter().map(|sample| self.name(&pictures, *sample as usize)));
            rows.numbers.extend(run(model, uploader.upload(batch.images, &batch.shape)?.tensor()?)?);
            progress.update(last, rows.files.len() as f64 / clock.elapsed().as_secs_f64().max(1e-9), None, None);
        }
        ensure!(!rows.files.is_empty(), "none of the {} pictures can be decoded", pictures.len());
        let skipped = pictures.len() - rows.files.len();
        let damaged = if skipped > 0 { format!(", {skipped} damaged ones left out") } else { String::new() };
        progress.finish(&format!("{} pictures{damaged}", rows.files.len()));
        Ok(rows)
    }

    /// The path below the folder, with `/` between its parts.
    fn name(&self, pictures: &Pictures, index: usize) -> String {
        let place = PathBuf::from(pictures.place(index));
        let below = place.strip_prefix(&self.images).unwrap_or(&place);
        below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
    }
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
    folder_of(&args.out)?;
    if kind == "csv" {
        let columns: Vec<String> = (0..width).map(|i| i.to_string()).collect();
        let mut text = format!("file,{}\n", columns.join(","));
        for (file, numbers) in rows.files.iter().zip(rows.numbers.chunks(width)) {
            let numbers: Vec<String> = numbers.iter().map(f32::to_string).collect();
            let _ = writeln!(text, "{},{}", field(file), numbers.join(","));
        }
        return disk::write(&args.out, text.as_bytes());
    }
    let tensor = Tensor::from_vec(rows.numbers, (rows.files.len(), width), &Device::Cpu)?;
    let tensors = BTreeMap::from([(FEATURES.to_string(), tensor)]);
    checkpoint::write_tensors(&args.out, &tensors, (FILES, &json!(rows.files).to_string()))
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
    let more: String = (2..=args.top).map(|k| format!(",class_{k},probability_{k}")).collect();
    let mut text = format!("file,class,probability{more}\n");
    for (file, logits) in rows.files.iter().zip(rows.numbers.chunks(classes)) {
        text += &field(file);
        for (class, probability) in likeliest(logits, args.top) {
            let _ = write!(text, ",{},{probability}", field(&names[class]));
        }
        text.push('\n');
    }
    match &args.out {
        None => print!("{text}"),
        Some(out) => {
            folder_of(out)?;
            disk::write(out, text.as_bytes())?;
        }
    }
    Ok(())
}

fn once(images: Tensor) -> impl Iterator<Item = Result<Tensor>> {
    std::iter::once(Ok(images))
}

fn folder_of(file: &Path) -> Result<()> {
    match file.parent() {
        Some(dir) => std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display())),
        None => Ok(()),
    }
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

/// A field of a CSV file, in quotes where it needs them (RFC 4180).
fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.into(),
    }
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
    fn fields_and_names() {
        assert_eq!(field("a b.png"), "a b.png");
        assert_eq!(field("a,\"b\".png"), "\"a,\"\"b\"\".png\"");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("names.txt");
        std::fs::write(&file, "cat\ndog\n").unwrap();
        assert_eq!(class_names(Some(&file), 2).unwrap(), ["cat", "dog"]);
        assert_eq!(class_names(None, 2).unwrap(), ["0", "1"]);
        assert!(class_names(Some(&file), 3).unwrap_err().to_string().contains("names 2 classes, the network knows 3"));
    }
}
