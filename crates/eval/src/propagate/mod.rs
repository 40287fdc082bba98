//! `propagate`: a baseline without a network, or with features alone: labels that spread to the nearest images.

mod spread;

use crate::knn::Gallery;
use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use simclr_core::cli::{self, DeviceChoice, compute_with, say};
use simclr_core::config::{Config, LabelAmount};
use simclr_core::run::{NUMERICS, layout};
use simclr_core::{bounds, disk};
use simclr_data::{LabelSubset, Pictures, ViewMaker, eval_batches};
use simclr_model::Hits;
use simclr_ops::Group;
use simclr_stage::{Checkpoint, EvalSet, map_dtype, subset_seed};
use spread::Spread;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What an edge weighs: the similarity to this power.
const POWER: i32 = 3;
/// Rounds of spreading.
const ROUNDS: usize = 100;

/// Options of `simclr-eval propagate`.
#[derive(Clone, Debug, Args)]
pub struct PropagateArgs {
    /// The experiment: a TOML file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,

    /// Change one key of the experiment; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// How many of the training labels may be used: a share in (0, 1], `10-per-class` or `all`; several with commas between
    #[arg(long, value_name = "AMOUNT", required = true, value_delimiter = ',')]
    pub labels: Vec<LabelAmount>,

    /// Which random subsets of so many: those of fine-tuning; several with commas between, which share the search for neighbours
    #[arg(long, value_name = "INDEX", default_value = "0", value_delimiter = ',', value_parser = cli::size(&bounds::INDEX))]
    pub subset: Vec<usize>,

    /// The network whose features are compared, a run or a checkpoint [default: none, the pixels themselves]
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: Option<PathBuf>,

    /// Nearest images that each is joined with, and that vote on a test image
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = cli::size(&bounds::COUNT))]
    pub neighbours: usize,

    /// Share of an image's scores that comes from its neighbours
    #[arg(long, value_name = "SHARE", default_value_t = 0.99)]
    pub alpha: f64,

    /// The folder that result.json is written into, for each amount and subset in labels-AMOUNT/subset-INDEX
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Where features are computed: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,

    /// Threads to compute with [default: one for each core]; results do not depend on it
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::THREADS))]
    pub threads: Option<usize>,
}

/// Rows `[N, D]` with the label of each.
struct Rows {
    features: Vec<f32>,
    samples: Vec<u32>,
    labels: Vec<u32>,
}

/// Spreads the labels over the training images, lets the nearest of them vote on each test image, and writes what that is worth.
///
/// # Errors
/// When the data, the checkpoint or the folder fails, or an option is out of range.
pub fn propagate(args: &PropagateArgs) -> Result<()> {
    compute_with(args.threads)?;
    args.labels.iter().try_for_each(|labels| labels.check("--labels").map(drop))?;
    ensure!((0.0..1.0).contains(&args.alpha), "--alpha {}: must be at least 0 and below 1", args.alpha);
    ensure!(args.neighbours > 0, "--neighbours 0: must be at least 1");
    let config = &Config::load(&args.config, &args.set)?;
    let clock = Instant::now();
    let data = simclr_data::load(&config.data)?;
    data.expect_labels("spreading labels")?;
    let (train, test, classes) = (Arc::new(data.train), Arc::new(data.test), data.classes.len());
    // First, because the search takes minutes: an amount that cannot be had should not be refused after it.
    let mut subsets = Vec::new();
    for labels in &args.labels {
        for index in &args.subset {
            let seed = subset_seed(config.seed, *index);
            subsets.push((*labels, *index, LabelSubset::of(&train, classes, *labels, seed, &config.data)?));
        }
    }
    let (of_train, of_test) = (rows(args, config, train)?, rows(args, config, test)?);
    ensure!(!of_train.samples.is_empty() && !of_test.samples.is_empty(), "no labeled image can be decoded");
    let spread = Spread { neighbours: args.neighbours, alpha: args.alpha, power: POWER, rounds: ROUNDS };
    // These take nearly all of the time, and know of no label.
    let graph = spread.graph(&of_train.features, of_train.labels.len())?;
    let near = Gallery::new(&of_train.features, &of_train.labels)?.nearest(&of_test.features, args.neighbours)?;
    for (labels, index, subset) in subsets {
        let used: BTreeSet<u32> = subset.indices.iter().copied().collect();
        let known = of_train.samples.iter().zip(&of_train.labels);
        let known: Vec<Option<u32>> = known.map(|(sample, label)| used.contains(sample).then_some(*label)).collect();
        let votes = votes(&near, &spread.scores(&graph, &known, classes)?, classes);
        let accuracy = Hits::of(&votes, classes, &of_test.labels).accuracy();
        let result = json!({
            "top1": accuracy.top1,
            "top5": accuracy.top5,
            "labels": labels,
            "subset": index,
            "seed": config.seed,
            "features": args.checkpoint.as_ref().map_or(layout::PIXELS.into(), |path| path.display().to_string()),
            "neighbours": args.neighbours,
            "alpha": args.alpha,
            "known": subset.indices.len(),
            "seconds": clock.elapsed().as_secs_f64(),
            "numerics": NUMERICS,
        });
        let out = args.out.join(layout::label_set(labels, index));
        std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
        disk::write_json(&out.join(layout::RESULT), &result)?;
        say(result);
    }
    Ok(())
}

/// The votes `[N, classes]` of the `near`est of each test image, by their similarity and their scores.
fn votes(near: &[Vec<(usize, f32)>], scores: &[f64], classes: usize) -> Vec<f32> {
    let of = |near: &Vec<(usize, f32)>| {
        let mut votes = vec![0.0f64; classes];
        for (row, similarity) in near {
            let (weight, scores) = (f64::from(*similarity).max(0.0).powi(POWER), &scores[row * classes..][..classes]);
            // Each neighbour has one vote, however far it is from a label.
            let sum = scores.iter().sum::<f64>().max(f64::MIN_POSITIVE);
            votes.iter_mut().zip(scores).for_each(|(vote, score)| *vote += weight * score / sum);
        }
        votes.into_iter().map(|vote| vote as f32)
    };
    near.iter().flat_map(of).collect()
}

/// What images are compared by: a network's features, or their pixels.
fn rows(args: &PropagateArgs, config: &Config, pictures: Arc<Pictures>) -> Result<Rows> {
    let Some(checkpoint) = &args.checkpoint else { return pixels(config, &pictures) };
    let device = args.device.open()?;
    let checkpoint = Checkpoint::load(checkpoint)?;
    checkpoint.expect_channels(pictures.channels())?;
    let model = checkpoint.model()?.on(&device)?.with_map_dtype(map_dtype(config, &device));
    let (features, seen) = EvalSet::new(config, pictures, &Group::default()).features(&model, 0)?;
    Ok(Rows { features, samples: seen.samples, labels: seen.labels })
}

fn pixels(config: &Config, pictures: &Pictures) -> Result<Rows> {
    let labeled: Vec<u32> = (0..pictures.len()).filter(|i| pictures.label(*i).is_some()).map(|i| i as u32).collect();
    let maker = ViewMaker::eval(&config.eval, config.data.image_size);
    let mut rows = Rows { features: Vec::new(), samples: Vec::new(), labels: Vec::new() };
    for batch in eval_batches(pictures, &labeled, &maker, config.eval.batch) {
        let batch = batch?;
        rows.labels.extend(batch.all_labels()?);
        rows.samples.extend(&batch.samples);
        rows.features.extend(batch.images);
    }
    Ok(rows)
}
