//! `look`: a network through the test images, for the page of a study: mistakes by class, maps of the features, neighbours.

mod maps;

use crate::knn::Gallery;
use crate::review::{Eye, some_of};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use simclr_core::cli::{self, DeviceChoice, Progress, ProgressMode, compute_with, say};
use simclr_core::config::Config;
use simclr_core::run::layout;
use simclr_core::{bounds, disk};
use simclr_data::{Pictures, ViewMaker};
use simclr_report::look::{Judge, Look, Query};
use simclr_report::thumbnail;
use simclr_stage::{Checkpoint, map_dtype};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Most training images among which neighbours are looked for.
const MOST_TRAIN: usize = 10_000;
/// Most test images of a map.
const MOST_MAPPED: usize = 1000;
/// Test images whose neighbours are shown, and neighbours of each.
const SHOWN: (usize, usize) = (10, 8);
/// Streams of random choices, beside those of a review.
const TEST: u64 = 10;
const TRAIN: u64 = 11;
const MAPPED: u64 = 12;

/// Options of `simclr-eval look`.
#[derive(Clone, Debug, clap::Args)]
pub struct LookArgs {
    /// The experiment: a TOML file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Change one key of the experiment; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// The network: a run folder, a checkpoint folder, a model.safetensors or hf://OWNER/NAME[@REV]
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,

    /// The folder that look.json is written into
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// What the page calls the network [default: its folder's name]
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,

    /// Most test images that it is shown, at random
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = cli::size(&bounds::COUNT))]
    pub count: usize,

    /// Where to compute: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,

    /// Threads to compute with [default: one for each core]; results do not depend on it
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::THREADS))]
    pub threads: Option<usize>,

    /// How progress is shown
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub progress: ProgressMode,
}

/// Looks, and writes `look.json`.
///
/// # Errors
/// When the data, the checkpoint or the folder fails, or there is no labeled test image.
pub fn look(args: &LookArgs) -> Result<()> {
    compute_with(args.threads)?;
    let config = Config::load(&args.config, &args.set)?;
    let found = find(args, &config)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("creating {}", args.out.display()))?;
    let path = args.out.join(layout::LOOK);
    disk::write_json(&path, &json!(found))?;
    say(format_args!(
        "{}: {:.1} % of {} test images are right: {}",
        found.network,
        100.0 * found.top1,
        found.images,
        path.display()
    ));
    Ok(())
}

fn find(args: &LookArgs, config: &Config) -> Result<Look> {
    let device = args.device.open()?;
    let data = simclr_data::load(&config.data)?;
    data.expect_labels("a look at a network")?;
    let mut checkpoint = Checkpoint::load(&args.checkpoint)?;
    checkpoint.expect_channels(data.train.channels())?;
    let judge = if checkpoint.spec.classes > 0 { Judge::Classifier } else { Judge::Neighbours };
    if judge == Judge::Classifier {
        checkpoint = checkpoint.for_classes(&data.classes)?;
    }
    let model = checkpoint.model()?.on(&device)?.with_map_dtype(map_dtype(config, &device));
    let eye = Eye {
        classifier: (judge == Judge::Classifier).then_some(&model),
        encoder: &model,
        maker: ViewMaker::eval(&config.eval, config.data.image_size),
        batch: config.eval.batch,
    };
    let (test, train, classes) = (&data.test, &data.train, data.classes.len());
    let labeled =
        |of: &Pictures| -> Vec<u32> { (0..of.len()).filter(|i| of.label(*i).is_some()).map(|i| i as u32).collect() };
    let all = labeled(test);
    let shown = some_of(&all, args.count, config.seed, TEST);
    let compared = some_of(&labeled(train), MOST_TRAIN, config.seed, TRAIN);
    let mut progress = Progress::new("look", (shown.len() + compared.len()) as u64, args.progress);
    let mut guesses: Vec<u32> = Vec::new();
    let of_test = eye.look(test, (&shown, &shown), &mut progress, |_, row| guesses.extend(likeliest(row)))?;
    // Their features alone are wanted.
    let encoder = Eye { classifier: None, ..eye };
    let of_train = encoder.look(train, (&compared, &compared), &mut progress, |_, _| {})?;
    progress.finish(&format!("{} images", of_test.samples.len() + of_train.samples.len()));
    let labels =
        |of: &Pictures, samples: &[u32]| -> Vec<u32> { samples.iter().filter_map(|i| of.label(*i as usize)).collect() };
    let (test_labels, train_labels) = (labels(test, &of_test.samples), labels(train, &of_train.samples));
    ensure!(!test_labels.is_empty(), "no labeled test image can be decoded");
    ensure!(!train_labels.is_empty(), "no labeled training image can be decoded");
    let gallery = Gallery::new(&of_train.features, &train_labels)?;
    if judge == Judge::Neighbours {
        let votes = gallery.votes(&of_test.features, classes, (config.eval.knn_k, config.eval.knn_temperature))?;
        guesses = votes.chunks(classes).filter_map(likeliest).collect();
    }
    let right = guesses.iter().zip(&test_labels).filter(|(guess, label)| guess == label).count();
    let mut confusion: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for (label, guess) in test_labels.iter().zip(&guesses) {
        *confusion.entry((*label, *guess)).or_default() += 1;
    }
    let dim = of_test.features.len() / test_labels.len();
    let mapped = some_of(&(0..test_labels.len() as u32).collect::<Vec<_>>(), MOST_MAPPED, config.seed, MAPPED);
    let rows: Vec<f32> = mapped.iter().flat_map(|i| unit(&of_test.features[*i as usize * dim..][..dim])).collect();
    let shown = one_of_each_class(&test_labels, classes);
    let near = gallery.show(&of_test.features, &test_labels, &shown, SHOWN.1)?;
    let queries = near.into_iter().map(|near| {
        let nearest = near.neighbours.into_iter();
        let nearest = nearest.map(|(i, label, similarity)| {
            Ok((thumbnail::source(train, of_train.samples[i] as usize)?, label, similarity))
        });
        let picture = thumbnail::source(test, of_test.samples[near.query] as usize)?;
        Ok(Query { picture, label: near.label, nearest: nearest.collect::<Result<_>>()? })
    });
    let folder = || args.checkpoint.file_name().map_or("a network".into(), |name| name.to_string_lossy().into_owned());
    Ok(Look {
        network: args.title.clone().unwrap_or_else(folder),
        images: test_labels.len(),
        of: all.len(),
        among: train_labels.len(),
        classes: data.classes.clone(),
        judge,
        top1: right as f64 / test_labels.len() as f64,
        confusion: confusion.into_iter().map(|((label, guess), count)| (label, guess, count)).collect(),
        labels: mapped.iter().map(|i| test_labels[*i as usize]).collect(),
        maps: maps::maps(&rows, dim)?,
        gallery: queries.collect::<Result<_>>()?,
    })
}

/// The class of the largest number; of equal ones the first.
fn likeliest(row: &[f32]) -> Option<u32> {
    (0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b])).map(|class| class as u32)
}

/// A row scaled to unit length.
fn unit(row: &[f32]) -> Vec<f32> {
    let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12);
    row.iter().map(|v| (f64::from(*v) / length) as f32).collect()
}

/// The first image of each class, as many as are shown.
fn one_of_each_class(labels: &[u32], classes: usize) -> Vec<usize> {
    (0..classes.min(SHOWN.0)).filter_map(|class| labels.iter().position(|label| *label as usize == class)).collect()
}
