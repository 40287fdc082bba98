//! Evaluating one checkpoint: its classifier, a linear probe on its features, nearest neighbours among them.

use crate::knn::Gallery;
use crate::probe::{Features, Probe, standardise, training};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, json};
use simclr_core::cli::{CommonArgs, device_name, say};
use simclr_core::config::{Config, Dtype};
use simclr_core::disk;
use simclr_core::rng::Purpose;
use simclr_core::run::{Run, layout};
use simclr_core::stages::EVAL;
use simclr_core::train::{TrainOptions, train};
use simclr_data::{Dataset, Loader, Pictures, ViewMaker};
use simclr_model::{Accuracy, Hits, SimClr};
use simclr_ops::Group;
use simclr_stage::{Checkpoint, EvalSet, Launch, gathered, map_dtype, open, uploader, used_parameters};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Test images whose neighbours are shown in the report, and how many of each.
const SHOWN: (usize, usize) = (10, 8);

/// Options of this stage.
#[derive(Clone, Debug, clap::Args)]
pub struct EvalArgs {
    /// Options of every stage
    #[command(flatten)]
    pub common: CommonArgs,

    /// What to evaluate: a run folder, a checkpoint folder, a model.safetensors or hf://OWNER/NAME[@REV]
    #[arg(long, value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,

    /// Train a linear classifier on the frozen features
    #[arg(long)]
    pub linear: bool,

    /// Classify by the nearest training features
    #[arg(long)]
    pub knn: bool,
}

/// Evaluates into the run folder of the command line. Without `--linear` and `--knn` the checkpoint's own classifier is
/// measured.
///
/// # Errors
/// When the data, the checkpoint or the folder fails.
pub fn run(args: &EvalArgs, config: &Config) -> Result<()> {
    let checkpoint = Checkpoint::load(&args.checkpoint)?;
    let identity = json!({"seed": config.seed, "data": config.data, "eval": config.eval});
    let mut extra = Map::new();
    extra.insert("linear".into(), json!(args.linear));
    extra.insert("knn".into(), json!(args.knn));
    let inputs = vec![("checkpoint".to_string(), checkpoint.sha256.clone())];
    let start = Launch { args: &args.common, config, stage: EVAL, identity, inputs, extra };
    let device = args.common.device.open()?;
    let Some(mut run) = open(start)? else { return Ok(()) };
    let clock = Instant::now();
    let data = simclr_data::load(&config.data)?;
    if args.linear || args.knn {
        data.expect_labels("evaluation of features")?;
    } else {
        data.expect_test("evaluation")?;
    }
    checkpoint.expect_channels(data.train.channels())?;
    let by_features = args.linear || args.knn;
    let checkpoint = if by_features { checkpoint } else { classifying(checkpoint, &data.classes)? };
    let model = checkpoint.model()?.on(&device)?.with_map_dtype(map_dtype(config, &device));
    let mut result = json!({"device": device_name(&device), "params": used_parameters(&model)});
    if config.dtype != Dtype::default() {
        result["dtype"] = json!(model.map_dtype().as_str());
    }
    if by_features {
        let figures = features_figures(args, config, &model, data, &mut run)?;
        result["params"] = json!(model.store.count(|p| p.part.in_encoder()));
        for (name, accuracy) in figures {
            result[name] = json!(accuracy);
        }
    } else {
        let accuracy = EvalSet::new(config, Arc::new(data.test), &args.common.group).accuracy(&model)?;
        result["top1"] = json!(accuracy.top1);
        result["top5"] = json!(accuracy.top5);
    }
    result["seconds"] = json!(clock.elapsed().as_secs_f64());
    if args.common.group.leads() {
        say(format_args!("{result}"));
    }
    run.finish(&result)
}

/// The checkpoint with its outputs in the order of the dataset's classes.
fn classifying(checkpoint: Checkpoint, classes: &[String]) -> Result<Checkpoint> {
    checkpoint.expect_classifier().context("measure a checkpoint without a classifier by --linear or --knn")?;
    checkpoint.for_classes(classes).context("measure its features by --linear or --knn")
}

/// What the features are worth, on every rank; the one that leads writes what the report shows of them.
fn features_figures(
    args: &EvalArgs,
    config: &Config,
    model: &SimClr,
    data: Dataset,
    run: &mut Run,
) -> Result<Vec<(&'static str, Accuracy)>> {
    let (classes, eval, group) = (data.classes.len(), &config.eval, &args.common.group);
    let (train_set, test_set) = (Arc::new(data.train), Arc::new(data.test));
    let encode = |pictures: &Arc<Pictures>| -> Result<(Features, Vec<u32>)> {
        let (rows, seen) = EvalSet::new(config, pictures.clone(), group).features(model, 0)?;
        ensure!(!seen.samples.is_empty(), "none of the labeled images can be decoded");
        Ok((Features { rows, labels: seen.labels }, seen.samples))
    };
    let (mut train_features, train_samples) = encode(&train_set).context("training images")?;
    let (test_features, test_samples) = encode(&test_set).context("test images")?;
    let mut figures = Vec::new();
    if args.knn {
        let gallery = Gallery::new(&train_features.rows, &train_features.labels)?;
        let (rows, labels) = (&test_features.rows, &test_features.labels);
        figures.push(("knn", gallery.accuracy((rows, labels), classes, (eval.knn_k, eval.knn_temperature), group)?));
        if group.leads() {
            let chosen = one_of_each_class(labels, classes);
            let mut shown = gallery.show(rows, labels, &chosen, SHOWN.1)?;
            // From rows to images: unlabeled and damaged ones have no row.
            for near in &mut shown {
                near.query = test_samples[near.query] as usize;
                near.neighbours.iter_mut().for_each(|(i, ..)| *i = train_samples[*i] as usize);
            }
            disk::write_json(&run.dir().join(layout::NEIGHBOURS), &json!(shown))?;
        }
    }
    if args.linear {
        for view in 1..eval.linear.views {
            let more = random_view_features(config, model, (&train_set, &train_samples), view, group)?;
            train_features.rows.extend(more.rows);
            train_features.labels.extend(more.labels);
        }
        let sets = (train_features, test_features);
        // Rank 0 trains it alone: what it costs is the features. The others wait to be told what it is worth.
        let hits = match group.leads() {
            true => linear_probe(args, config, sets, classes, model, run)?,
            false => Hits::default(),
        };
        figures.push(("linear", hits.of_all_ranks(group)?.accuracy()));
    }
    Ok(figures)
}

/// Trains a linear classifier on features of the training images, and measures it on those of the test images.
fn linear_probe(
    args: &EvalArgs,
    config: &Config,
    (mut train_set, mut test_set): (Features, Features),
    classes: usize,
    model: &SimClr,
    run: &mut Run,
) -> Result<Hits> {
    standardise(&mut train_set, &mut test_set);
    let (examples, table) = (train_set.labels.len(), training(&config.eval.linear));
    let device = model.store.device();
    let mut probe = Probe::new((train_set, test_set), classes, table.batch, config.seed, device)?;
    let (progress, title) = (args.common.progress, "linear probe".to_string());
    let group = &Group::default();
    let options = TrainOptions { training: &table, examples, prefetch: 1, progress, title, group, stop_after: None };
    train(&mut probe, &options, run)?;
    probe.hits()
}

/// Features of a random crop of every one of some training images: each rank makes some of the batches.
fn random_view_features(
    config: &Config,
    model: &SimClr,
    (set, samples): (&Arc<Pictures>, &[u32]),
    view: usize,
    group: &Group,
) -> Result<Features> {
    let (size, batch) = (config.data.image_size, config.eval.batch);
    let maker = ViewMaker::labeled(0.08, 0.0, config.augment.flip, size);
    let seed = (config.seed.wrapping_add(view as u64), Purpose::Labeled);
    let loader = Loader::new(set.clone(), samples.to_vec(), maker, (1, batch), seed);
    // Whole batches: the few images that the last one repeats from the next epoch do no harm.
    let mut labels = Vec::new();
    let uploader = uploader(model)?;
    let views = group.part(samples.len().div_ceil(batch)).map(|step| {
        let batch = loader.batch(step as u64)?;
        labels.extend(batch.all_labels()?);
        Ok(uploader.upload(batch.images, &batch.shape)?.tensor()?)
    });
    let rows = model.features(views, 0)?;
    Ok(Features { rows: gathered::floats(group, rows)?, labels: gathered::indices(group, labels)? })
}

/// Index of the first image of each class, as many as are shown.
fn one_of_each_class(labels: &[u32], classes: usize) -> Vec<usize> {
    let first = |class| labels.iter().position(|l| *l as usize == class % classes);
    (0..SHOWN.0.min(classes)).filter_map(first).collect()
}
