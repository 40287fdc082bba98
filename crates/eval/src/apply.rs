//! A checkpoint applied to pictures of the command line: what `embed` and `classify` share.

use crate::calibration::Calibration;
use crate::inputs::{self, Input, Inputs};
use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{DeviceChoice, Progress, ProgressMode, compute_with};
use simclr_core::config::{Config, Corrupt, Crop, DataConfig, EachRange, EvalConfig, Range, Resize, Truncated};
use simclr_core::run::{checkpoint, layout};
use simclr_data::{Pictures, ViewMaker, eval_batches};
use simclr_model::SimClr;
use simclr_ops::Group;
use simclr_stage::{Checkpoint, gathered, uploader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A checkpoint, pictures, and how it is shown them.
#[derive(Clone, Debug, clap::Args)]
pub struct ApplyArgs {
    /// The network: a run folder, a checkpoint folder, a model.safetensors or hf://OWNER/NAME[@REV]
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,

    /// Pictures: a file, a folder (its whole tree), a pattern ('photos/*.jpg', '**/*.png') or - for a list with a path a
    /// line on the standard input; may be repeated
    #[arg(long, value_name = "PATH")]
    pub images: Vec<PathBuf>,

    /// More pictures, as by --images
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Side that pictures are resized to [default: that of the network's training]
    #[arg(long, value_name = "PIXELS", value_parser = cli::size(&bounds::IMAGE_SIZE))]
    pub image_size: Option<usize>,

    /// What of a picture is shown: a share of its shorter side, "center" (0.875 of it) or "whole", which is squeezed to a
    /// square; views of at most 32 pixels show all of the central square [default: that of the network's experiment where its
    /// config.toml is there, else center]
    #[arg(long, value_name = "SHARE")]
    pub crop: Option<Crop>,

    /// Whose bicubic resize: tf2, or tf1 for checkpoints that were imported from the authors' TF1 code [default: that of the
    /// network's experiment, else tf2]
    #[arg(long, value_name = "WHOSE", value_parser = resize)]
    pub resize: Option<Resize>,

    /// Turn pictures upright as their EXIF orientation says: on or off (as the reference)
    #[arg(long, value_name = "ON_OFF", default_value = "on", value_parser = on_off, action = clap::ArgAction::Set)]
    pub orientation: bool,

    /// A JPEG that breaks off: keep what can be decoded, or corrupt to leave it out [default: that of the network's
    /// experiment, else corrupt]
    #[arg(long, value_name = "WHAT", value_parser = truncated)]
    pub on_truncated: Option<Truncated>,

    /// Which numbers of pictures of more than 8 bits are black and white: BLACK,WHITE or minmax [default: that of the
    /// network's experiment, else all that their type holds]
    #[arg(long, value_name = "RANGE", value_parser = range)]
    pub range: Option<Range>,

    /// Pictures a forward pass
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = cli::size(&bounds::BATCH))]
    pub batch: usize,

    /// End with an error at the first damaged picture, instead of naming it in the log and leaving it out
    #[arg(long)]
    pub strict: bool,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,

    /// Threads to compute with [default: one for each core]; results do not depend on it
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::THREADS))]
    pub threads: Option<usize>,

    /// How progress is shown
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub progress: ProgressMode,

    /// Share the pictures among so many ranks: threads of this process, with a GPU each where it computes on GPUs
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::RANKS))]
    pub ranks: Option<usize>,

    /// The ranks that this one computes with.
    #[arg(skip)]
    pub group: Group,
}

fn resize(text: &str) -> Result<Resize, String> {
    match text {
        "tf2" => Ok(Resize::Tf2),
        "tf1" => Ok(Resize::Tf1),
        _ => Err("expected tf1 or tf2".into()),
    }
}

fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected on or off".into()),
    }
}

fn truncated(text: &str) -> Result<Truncated, String> {
    match text {
        "keep" => Ok(Truncated::Keep),
        "corrupt" => Ok(Truncated::Corrupt),
        _ => Err("expected keep or corrupt".into()),
    }
}

fn range(text: &str) -> Result<Range, String> {
    if text == "minmax" {
        return Ok(Range::Each(EachRange::MinMax));
    }
    let ends = text.split_once(',').and_then(|(a, b)| Some([a.trim().parse().ok()?, b.trim().parse().ok()?]));
    match ends {
        Some([black, white]) if f64::is_finite(black) && f64::is_finite(white) && black < white => {
            Ok(Range::Fixed([black, white]))
        }
        _ => Err("expected two numbers that ascend, such as 0,4095, or minmax".into()),
    }
}

/// A network where it computes, and what is known of it.
pub struct Network {
    /// The network.
    pub model: SimClr,
    /// How its probabilities were calibrated, where that was measured.
    pub calibration: Option<Calibration>,
    /// The experiment that made it, where its file is there.
    experiment: Option<Config>,
}

/// One row of numbers for each picture that could be decoded, and what the picture is called.
pub struct Rows {
    /// Paths as they were given, or below a single folder, with `/` between their parts.
    pub files: Vec<String>,
    /// Row-major.
    pub numbers: Vec<f32>,
}

impl ApplyArgs {
    /// Runs `command` on all ranks, each with options that know its group; the rank that leads writes and shows.
    ///
    /// # Errors
    /// When an option is out of range, and what the first rank failed of.
    pub fn on_ranks(&self, command: impl Fn(Self) -> Result<()> + Sync) -> Result<()> {
        compute_with(self.threads)?;
        simclr_ranks::each(self.ranks, |group| {
            let progress = if group.leads() { self.progress } else { ProgressMode::Off };
            let device = match group.is_alone() {
                true => self.device,
                false => simclr_ranks::device_of(self.device, group.rank(), group.size())?,
            };
            command(Self { group, progress, device, ..self.clone() })
        })
    }

    /// The network, on the device of the command line.
    ///
    /// # Errors
    /// When an option is out of range, or the checkpoint cannot be read.
    pub fn load(&self) -> Result<Network> {
        ensure!(self.batch > 0, "--batch 0: must be at least 1");
        ensure!(self.image_size != Some(0), "--image-size 0: must be at least 1");
        let loaded = Checkpoint::load(&self.checkpoint)?;
        let weights = checkpoint::find(&self.checkpoint)?;
        let calibration = Calibration::beside(&weights, &loaded.sha256)?;
        Ok(Network { model: loaded.model()?.on(&self.device.open()?)?, calibration, experiment: experiment(&weights) })
    }

    /// The pictures that the command line means. One rank looks: it alone has the standard input.
    fn inputs(&self) -> Result<Vec<Input>> {
        let words: Vec<PathBuf> = self.images.iter().chain(&self.paths).cloned().collect();
        let found = if self.group.leads() { inputs::find(&words, &mut std::io::stdin())? } else { Vec::new() };
        if self.group.is_alone() {
            return Ok(found);
        }
        let path = |input: &Input| input.path.to_str().map(String::from).context("a path is not UTF-8");
        let said = found.iter().map(|input| Ok([input.name.clone(), path(input)?])).collect::<Result<Vec<_>>>()?;
        let said = gathered::texts(&self.group, said.concat())?;
        Ok(said.chunks_exact(2).map(|both| Input { name: both[0].clone(), path: (&both[1]).into() }).collect())
    }

    /// What `run` makes of the pictures, a batch of views `[N, S, S, C]` at a time: each rank of its part, and all have the
    /// rows of all.
    ///
    /// # Errors
    /// When a path means no picture, no picture can be decoded, or with `--strict` when one cannot, or a rank has ended.
    pub fn rows(
        &self,
        network: &Network,
        title: &str,
        run: impl Fn(&SimClr, Tensor) -> Result<Vec<f32>>,
    ) -> Result<Rows> {
        let (model, group) = (&network.model, &self.group);
        let inputs = Arc::new(Inputs(self.inputs()?));
        let pictures = Pictures::new(inputs.clone(), model.spec.in_channels, &self.reading(network));
        let maker = ViewMaker::eval(&self.view(network), self.image_size.unwrap_or(model.spec.image_size));
        let samples: Vec<u32> = group.part(pictures.len()).map(|sample| sample as u32).collect();
        let mut progress = Progress::new(title, samples.len() as u64, self.progress);
        let (clock, mut good, mut numbers) = (Instant::now(), Vec::new(), Vec::new());
        let uploader = uploader(model)?;
        for batch in eval_batches(&pictures, &samples, &maker, self.batch) {
            let batch = batch?;
            let done = batch.samples.last().map_or(0, |sample| u64::from(*sample) + 1 - u64::from(samples[0]));
            good.extend(batch.samples.iter().copied());
            numbers.extend(run(model, uploader.upload(batch.images, &batch.shape)?.tensor()?)?);
            progress.update(done, good.len() as f64 / clock.elapsed().as_secs_f64().max(1e-9), None, None);
        }
        let (good, numbers) = (gathered::indices(group, good)?, gathered::floats(group, numbers)?);
        let own = pictures.reasons();
        let damaged = gathered::texts(group, own.iter().map(|(place, why)| format!("{place}: {why}")).collect())?;
        // The log has this rank's already.
        damaged.iter().skip(own.len()).filter(|_| group.leads()).for_each(|other| tracing::warn!("skipped {other}"));
        if let (true, [first, ..]) = (good.is_empty(), &damaged[..]) {
            ensure!(pictures.len() > 1, "{first}");
        }
        ensure!(!good.is_empty(), "none of the {} pictures can be decoded", pictures.len());
        let skipped = pictures.len() - good.len();
        let damaged = if skipped > 0 { format!(", {skipped} damaged ones left out") } else { String::new() };
        progress.finish(&format!("{} pictures{damaged}", good.len()));
        Ok(Rows { files: good.into_iter().map(|sample| inputs.0[sample as usize].name.clone()).collect(), numbers })
    }

    /// How files become pixels: as for the network's training, but for what the command line says.
    fn reading(&self, network: &Network) -> DataConfig {
        let own = network.experiment.as_ref().map(|experiment| &experiment.data);
        let mut data = DataConfig::new("folder", 1);
        data.corrupt = if self.strict { Corrupt::Fail } else { Corrupt::Skip };
        data.orientation = self.orientation;
        data.range = self.range.or(own.and_then(|own| own.range));
        data.on_truncated = self.on_truncated.or(own.map(|own| own.on_truncated)).unwrap_or_default();
        data.max_pixels = own.map_or(data.max_pixels, |own| own.max_pixels);
        data
    }

    fn view(&self, network: &Network) -> EvalConfig {
        let own = network.experiment.as_ref().map(|experiment| experiment.eval.clone()).unwrap_or_default();
        EvalConfig { crop: self.crop.unwrap_or(own.crop), resize: self.resize.unwrap_or(own.resize), ..own }
    }
}

/// The experiment beside a run's checkpoint, or beside the weights as publishing puts it; none where it is of another
/// version.
fn experiment(weights: &Path) -> Option<Config> {
    let dir = weights.parent()?;
    let above = if dir.ends_with(layout::CHECKPOINT) { dir.parent() } else { None };
    let file =
        [Some(dir), above].into_iter().flatten().map(|dir| dir.join(layout::EXPERIMENT)).find(|f| f.is_file())?;
    match Config::load(&file, &[]) {
        Ok(config) => Some(config),
        Err(error) => {
            tracing::warn!("pictures are read with this program's defaults, for {error:#}");
            None
        }
    }
}

/// One batch, as the network takes its batches.
pub fn once(images: Tensor) -> impl Iterator<Item = Result<Tensor>> {
    std::iter::once(Ok(images))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        apply: ApplyArgs,
    }

    #[test]
    fn pictures_are_named_by_option_and_place() {
        let line = |more: &str| Cli::try_parse_from(format!("x --checkpoint c {more}").split_whitespace());
        let args = line("--images a --images b c d.png -").unwrap().apply;
        assert_eq!((args.images.len(), args.paths.len(), args.orientation), (2, 3, true));
        let args = line("a --orientation off --range 0,4095 --on-truncated keep").unwrap().apply;
        assert_eq!((args.orientation, args.range), (false, Some(Range::Fixed([0.0, 4095.0]))));
        assert_eq!(args.on_truncated, Some(Truncated::Keep));
        assert_eq!(line("a --range minmax").unwrap().apply.range, Some(Range::Each(EachRange::MinMax)));
        for wrong in
            ["--range 1", "--range 5,2", "--range a,b", "--orientation yes", "--on-truncated x", "--resize tf3"]
        {
            assert!(line(wrong).is_err(), "{wrong}");
        }
    }
}
