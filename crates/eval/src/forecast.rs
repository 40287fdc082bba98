//! `estimate`: what the jobs of an experiment take on GPUs, before anybody runs them: time, memory, disk, traffic.

use crate::experiment::Experiment;
use anyhow::{Context, Result, ensure};
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::say;
use simclr_core::config::{Config, ModelConfig, TrainingConfig};
use simclr_core::readable::count;
use simclr_core::stages::PRETRAIN;
use simclr_core::train::Schedule;
use simclr_data::source::{self, Count};
use simclr_estimate::{Gpu, H100, Links, LossCost, Mode, Step, Work};
use simclr_model::{ModelSpec, SimClr};
use simclr_pretrain::Pretraining;
use simclr_report::plan::{self, Job};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

/// The GPU that estimates are of.
pub const GPU: &Gpu = &H100;
const LINKS: &Links = &Links::NVLINK_AND_NDR;
/// Channels of images that are not there to be looked at.
const COLOURS: usize = 3;
/// Bytes of a picture's file, where the files are not there: ImageNet's training archive is 138 GB of 1281167.
const FILE: f64 = 108e3;

/// Options of `simclr-eval estimate`.
#[derive(Clone, Debug, clap::Args)]
pub struct EstimateArgs {
    /// The experiment
    #[command(flatten)]
    pub experiment: Experiment,

    /// Training images, where the dataset is not here to be counted (ImageNet has 1281167)
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::IMAGES))]
    pub images: Option<usize>,

    /// Numbers of GPUs, each of which is a column: machines of eight with NVLink, InfiniBand between them
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,8,32", value_parser = cli::size(&bounds::COUNT))]
    pub gpus: Vec<usize>,
}

/// Prints what the jobs take.
///
/// # Errors
/// When the experiment is not valid, its images can be neither counted nor are told, or a network cannot be estimated.
pub fn estimate(args: &EstimateArgs) -> Result<()> {
    ensure!(!args.gpus.is_empty() && args.gpus.iter().all(|n| *n > 0), "--gpus: numbers of at least 1, such as 1,8,32");
    ensure!(args.images != Some(0), "--images 0: must be at least 1");
    let config = args.experiment.load()?;
    say(page(&config, &args.experiment.run, args.images, &args.gpus)?.trim_end());
    Ok(())
}

/// What there is to learn from.
struct Images {
    train: usize,
    test: usize,
    classes: usize,
    /// Bytes of all files.
    bytes: f64,
    /// Where the numbers come from.
    known: String,
}

impl Images {
    fn of(config: &Config, told: Option<usize>) -> Result<Self> {
        simclr_data::check(config)?;
        let about = source::find(&config.data)?;
        let pixels = (config.data.image_size * config.data.image_size * COLOURS) as f64;
        let of = |train: usize, test: usize, classes: usize, one: f64, known: String| {
            let bytes = dir_bytes(config.data.dir.as_deref()).unwrap_or(one * (train + test) as f64);
            Self { train, test, classes, bytes, known }
        };
        let (test, classes) = (about.test.estimate(), about.classes);
        Ok(match (told, about.train) {
            (Some(train), _) => {
                let one = if about.of_files { FILE } else { pixels };
                let known = format!("as given; {test} test images are assumed");
                of(train, test, classes.unwrap_or(1000), one, known)
            }
            (None, Count::Exactly(train)) => of(
                train,
                test,
                classes.context("the table of datasets lacks classes")?,
                pixels,
                "as the dataset has".into(),
            ),
            (None, Count::About(_)) => {
                let data = simclr_data::load(&config.data).context(
                    "the images of the experiment cannot be counted; say --images N (cargo xtask reproduce --dry-run: \
                     --train-images N; ImageNet has 1281167)",
                )?;
                of(data.train.len(), data.test.len(), data.classes.len(), FILE, "counted".into())
            }
        })
    }
}

/// Bytes of all files below a folder that is there.
fn dir_bytes(dir: Option<&Path>) -> Option<f64> {
    let mut bytes = 0.0;
    for entry in std::fs::read_dir(dir?).ok()?.flatten() {
        let Ok(about) = entry.metadata() else { continue };
        bytes += if about.is_dir() { dir_bytes(Some(&entry.path()))? } else { about.len() as f64 };
    }
    Some(bytes)
}

/// Networks by their tables, each made once: the largest have gigabytes of weights.
#[derive(Default)]
pub struct Networks {
    made: BTreeMap<String, SimClr>,
}

impl Networks {
    fn key(model: &ModelConfig, config: &Config) -> Result<String> {
        Ok(serde_json::to_string(&(model, config.data.image_size))?)
    }

    /// Makes the networks of a job of `config`, for so many classes.
    ///
    /// # Errors
    /// When one is none that there is.
    pub fn make(&mut self, job: &Job, config: &Config, classes: usize) -> Result<()> {
        for model in std::iter::once(&job.load.model).chain(&job.load.teacher) {
            if let Entry::Vacant(place) = self.made.entry(Self::key(model, config)?) {
                let spec = ModelSpec::new(model, COLOURS, config.data.image_size, classes, 0);
                place.insert(SimClr::blank(&spec)?);
            }
        }
        Ok(())
    }

    fn get(&self, model: &ModelConfig, config: &Config) -> Result<&SimClr> {
        self.made.get(&Self::key(model, config)?).context("a network that was not made")
    }
}

/// What a job takes on so many GPUs.
pub struct Planned {
    /// Seconds, where it can run.
    pub seconds: Option<f64>,
    /// Its step, where it trains.
    pub step: Option<Step>,
}

/// A job on each number of GPUs, and the bytes that it leaves on disk.
pub struct Line {
    title: String,
    steps: Option<u64>,
    images: f64,
    /// In the order of the numbers.
    pub on: Vec<Planned>,
    /// Bytes of a step on a processor, all images on one rank; nothing where it does not train.
    pub memory: Option<f64>,
    disk: f64,
}

fn page(config: &Config, out: &Path, told: Option<usize>, gpus: &[usize]) -> Result<String> {
    let images = Images::of(config, told)?;
    let jobs = plan::jobs_on(config, out, (images.train, images.test, images.classes))?;
    let mut networks = Networks::default();
    jobs.iter().try_for_each(|job| networks.make(job, config, images.classes))?;
    let lines = jobs.iter().map(|job| line(config, job, &networks, gpus)).collect::<Result<Vec<_>>>()?;
    Ok(table(config, out, (&jobs, &lines), &images, gpus))
}

/// What a job takes, whose networks were made.
///
/// # Errors
/// When its backbone does not tell what its layers do.
pub fn line(config: &Config, job: &Job, networks: &Networks, gpus: &[usize]) -> Result<Line> {
    let (load, size) = (&job.load, config.data.image_size);
    let no_loss = |_| LossCost::default();
    let model = networks.get(&load.model, config)?;
    let unknown = |model: &SimClr| {
        format!(
            "there is no estimate for the backbone \"{}\": it does not say what its layers do",
            model.spec.model.backbone.name
        )
    };
    let outline = model.outline(size).with_context(|| unknown(model))?;
    let teacher = load.teacher.as_ref().map(|teacher| networks.get(teacher, config)).transpose()?;
    let taught = teacher.map(|teacher| teacher.outline(size).with_context(|| unknown(teacher))).transpose()?;
    let steps = load.training.as_ref().map(|training| Schedule::new(training, load.examples).total);
    let pretraining = match (job.stage.name, steps) {
        (PRETRAIN, Some(steps)) => Some(Pretraining::new(config, (COLOURS, 0), steps)?),
        _ => None,
    };
    let own_loss = |images: f64| pretraining.as_ref().map_or_else(LossCost::default, |of| of.loss(images));
    let views = pretraining.as_ref().map_or(load.views, |of| of.views() as f64);
    let loss: &dyn Fn(f64) -> LossCost = if pretraining.is_some() { &own_loss } else { &no_loss };
    let work = Work { teacher: taught.as_ref(), ..Work::of(&outline, model, (size, views), loss) };
    let chunks = pretraining.as_ref().is_some_and(Pretraining::runs_in_chunks);
    let one = |gpus: usize| {
        let looked = work.look(GPU, config.dtype, load.looked_at, gpus);
        let Some(training) = &load.training else { return Planned { seconds: Some(looked), step: None } };
        let fits = gpus <= training.batch;
        let step = if fits {
            work.step((GPU, LINKS), (config.dtype, training.recompute, chunks), training.batch, gpus)
        } else {
            None
        };
        let seconds = step.as_ref().map(|step| steps.unwrap_or(0) as f64 * step.seconds() + looked);
        Planned { seconds, step }
    };
    // The checkpoint, states with the optimiser's moments beside the weights, and the best network where it is measured.
    let weights = 4.0 * model.store.count(|_| true) as f64;
    let best = |training: &TrainingConfig| if training.eval_every.is_some() { 1 } else { 0 };
    let copies = load.training.as_ref().map_or(0, |t| 1 + 2 * t.keep_states + best(t)) as f64;
    let title = job.title.clone();
    let memory = load.training.as_ref().map(|training| {
        let (batch, mode) = (training.batch as f64, Mode { dtype: config.dtype, recompute: training.recompute });
        work.memory(&PROCESSOR, mode, (batch, batch), training.chunk.map(|chunk| chunk as f64))
    });
    Ok(Line {
        title,
        steps,
        memory,
        images: load.images() + load.looked_at,
        on: gpus.iter().map(|n| one(*n)).collect(),
        disk: copies * weights,
    })
}

/// The page: what is run, then a table each of time, memory, traffic, and disk.
fn table(config: &Config, out: &Path, (jobs, lines): (&[Job], &[Line]), images: &Images, gpus: &[usize]) -> String {
    let Images { train, test, classes, known, .. } = images;
    let dtype = if config.dtype == simclr_core::config::Dtype::F32 { "f32 (TF32)" } else { "bf16" };
    let mut text = format!(
        "{}: {} jobs into {}, nothing is run\n{train} training images, {test} test images, {classes} classes ({known}); maps in \
         {dtype}\n\n",
        config.name,
        jobs.len(),
        out.display()
    );
    let wide =
        lines.iter().map(|line| line.title.chars().count()).max().unwrap_or(0).max("all, one after another".len());
    let heads: Vec<String> = gpus.iter().map(|n| format!("{n} {}", GPU.name)).collect();
    let row = |name: &str, cells: &[String]| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>20}")).collect();
        format!("{name:<wide$}{}\n", cells)
    };
    let before = |a: &str, b: &str| format!("{a:>10}{b:>10}");
    text += &row(&format!("{:<wide$}{}", "time", before("steps", "images")), &heads);
    let mut sums = vec![Some(0.0); gpus.len()];
    for line in lines {
        let cells: Vec<String> = line.on.iter().map(|on| on.seconds.map_or("does not fit".into(), time)).collect();
        sums.iter_mut().zip(&line.on).for_each(|(sum, on)| *sum = sum.and_then(|sum| Some(sum + on.seconds?)));
        let steps = line.steps.map_or("-".into(), |steps| steps.to_string());
        text += &row(&format!("{:<wide$}{}", line.title, before(&steps, &count(line.images as u64))), &cells);
    }
    let sums: Vec<String> = sums.into_iter().map(|sum| sum.map_or("-".into(), time)).collect();
    text += &row(&format!("{:<wide$}{}", "all, one after another", before("", "")), &sums);

    let of_steps = |head: &str, cell: &dyn Fn(&Step) -> String| {
        let mut text = format!("\n{}", row(&format!("{head:<wide$}{}", before("", "")), &heads));
        // Amounts of labels change nothing of a step, as a rule: then one line is enough.
        let mut shown: Vec<String> = Vec::new();
        for line in lines.iter().filter(|line| line.steps.is_some()) {
            let cells: Vec<String> = line.on.iter().map(|on| on.step.as_ref().map_or("-".into(), cell)).collect();
            let name = line.title.split(", ").next().unwrap_or(&line.title);
            let text = row(&format!("{name:<wide$}{}", before("", "")), &cells);
            if !shown.contains(&text) {
                shown.push(text);
            }
        }
        text += &shown.concat();
        text
    };
    text += &of_steps("memory of a GPU", &|step| format!("{:.1} GB, {}", step.memory / 1e9, step.way));
    if gpus.iter().any(|n| *n > 1) {
        text += &of_steps("sent by a GPU in a step", &|step| match step.sent() {
            0.0 => "-".into(),
            sent => bytes(sent),
        });
        text += &of_steps("waiting for others", &|step| match step.exchanges.is_empty() {
            true => "-".into(),
            false => format!("{:.1} of {:.0} ms", 1e3 * (step.waits + step.exposed), 1e3 * step.seconds()),
        });
    }
    let runs: f64 = lines.iter().map(|line| line.disk).sum();
    let largest = lines.iter().map(|line| line.disk).fold(0.0, f64::max);
    text += &format!(
        "\ndisk: dataset {}, runs {} (weights, the states that resume each, its best network), {} more while a state is \
         written: {} in all\n",
        bytes(images.bytes),
        bytes(runs),
        bytes(largest),
        bytes(images.bytes + runs + largest)
    );
    text += &format!(
        "\nA model, not a measurement. One GPU: {:.0} % of what memory ({:.2} TB/s) and tensor cores ({:.0} TFLOP/s TF32, {:.0} bf16) \
         allow, as a ResNet-50 at 224 pixels\nreached on an H200. Between GPUs: NVLink within a machine of {} ({:.0} GB/s, {:.0} us a small \
         exchange), between machines an InfiniBand adapter a GPU\n({:.0} GB/s, {:.0} us and {:.0} more with each doubling). Layers that \
         fine-tuning freezes, the probe's own training and reading pictures are left out.\n",
        100.0 * GPU.reached,
        GPU.bandwidth / 1e12,
        GPU.tf32 / 1e12,
        GPU.bf16 / 1e12,
        LINKS.machine,
        LINKS.inside.bandwidth / 1e9,
        1e6 * LINKS.inside.latency,
        LINKS.between.bandwidth / 1e9,
        1e6 * LINKS.between.latency,
        1e6 * LINKS.doubling
    );
    text
}

/// A processor, for its memory alone: no library of convolutions takes room there.
const PROCESSOR: Gpu = Gpu { name: "processor", workspace: 0.0, ..H100 };

/// Days where there are some, else hours, minutes or seconds.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 2.0 * 86400.0 => format!("{:.1} days", s / 86400.0),
        s if s >= 2.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s if s >= 120.0 => format!("{:.0} min", s / 60.0),
        s => format!("{s:.0} s"),
    }
}

/// Bytes in GB or MB.
pub fn bytes(n: f64) -> String {
    if n >= 1e9 { format!("{:.1} GB", n / 1e9) } else { format!("{:.0} MB", n / 1e6) }
}
