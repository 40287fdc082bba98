//! A checkpoint applied to a folder of pictures: what `embed` and `classify` share.

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use simclr_core::cli::{DeviceChoice, Progress, ProgressMode, compute_with};
use simclr_core::config::{Corrupt, Crop, EvalConfig, Resize};
use simclr_data::source::folder;
use simclr_data::{Pictures, ViewMaker, eval_batches};
use simclr_model::SimClr;
use simclr_stage::{Checkpoint, uploader};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A checkpoint, pictures, and how it is shown them.
#[derive(Clone, Debug, clap::Args)]
pub struct ApplyArgs {
    /// The network: a run folder, a checkpoint folder, a model.safetensors or hf://OWNER/NAME[@REV]
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,

    /// Pictures: one flat folder, or folders in it
    #[arg(long, value_name = "DIR")]
    pub images: PathBuf,

    /// Side that pictures are resized to [default: that of the network's training]
    #[arg(long, value_name = "PIXELS")]
    pub image_size: Option<usize>,

    /// What of a picture is shown: a share of its shorter side, "center" (the default share) or "whole", which is squeezed to
    /// a square; views of at most 32 pixels show the whole central square
    #[arg(long, value_name = "SHARE", default_value_t)]
    pub crop: Crop,

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

fn resize(text: &str) -> Result<Resize, String> {
    match text {
        "tf2" => Ok(Resize::Tf2),
        "tf1" => Ok(Resize::Tf1),
        _ => Err("expected tf1 or tf2".into()),
    }
}

/// One row of numbers for each picture that could be decoded, and the picture's path below the folder.
pub struct Rows {
    /// Paths below the folder, with `/` between their parts.
    pub files: Vec<String>,
    /// Row-major.
    pub numbers: Vec<f32>,
}

impl ApplyArgs {
    /// The network, on the device of the command line.
    ///
    /// # Errors
    /// When an option is out of range, or the checkpoint cannot be read.
    pub fn load(&self) -> Result<SimClr> {
        ensure!(self.batch > 0, "--batch 0: must be at least 1");
        ensure!(self.image_size != Some(0), "--image-size 0: must be at least 1");
        compute_with(self.threads)?;
        Checkpoint::load(&self.checkpoint)?.model()?.on(&self.device.open()?)
    }

    /// What `run` makes of the pictures, a batch of views `[N, S, S, C]` at a time.
    ///
    /// # Errors
    /// When no picture can be decoded, or with `--strict` when one cannot.
    pub fn rows(&self, model: &SimClr, title: &str, run: impl Fn(&SimClr, Tensor) -> Result<Vec<f32>>) -> Result<Rows> {
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

/// One batch, as the network takes its batches.
pub fn once(images: Tensor) -> impl Iterator<Item = Result<Tensor>> {
    std::iter::once(Ok(images))
}

/// Makes the folder that `file` stands in.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder_of(file: &Path) -> Result<()> {
    match file.parent() {
        Some(dir) => std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display())),
        None => Ok(()),
    }
}

/// Rows of fields as CSV.
///
/// # Errors
/// When rows differ in length.
pub fn csv(rows: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let mut out = csv::Writer::from_writer(Vec::new());
    for row in rows {
        out.write_record(row).context("writing CSV")?;
    }
    Ok(out.into_inner()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_need_it() {
        let row = |file: &str| vec![file.to_string(), "0.5".to_string()];
        let bytes = csv([row("file"), row("a b.png"), row("a,\"b\".png"), row("two\nlines"), row("ä#;'.png")]).unwrap();
        let expected = "file,0.5\na b.png,0.5\n\"a,\"\"b\"\".png\",0.5\n\"two\nlines\",0.5\nä#;'.png,0.5\n";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
