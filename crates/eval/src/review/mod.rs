//! `review`: what an experiment's best network makes of the pictures, for people who go on from there.
//!
//! Without labels, when there is no classifier yet, the pretrained encoder alone tells what to label first.
//!
//! It calibrates the network on the held-out pictures, classifies the pictures that have no label, and tells which to label
//! next, which are copies of others and which are like no other. Memory is bounded: of each picture a print of 264 bytes and
//! its three likeliest classes are kept; features, which choosing and comparing need, of at most [`MOST_FEATURES`] numbers
//! and [`MOST_KEPT`] pictures, drawn at random where there are more.

mod clusters;
pub mod label;
mod look;
mod names;
mod network;
mod prints;
mod tables;

use crate::calibration::{Calibration, likeliest, probabilities};
use crate::experiment::Experiment;
use crate::knn::Gallery;
use anyhow::{Context, Result, ensure};
use label::{Pool, doubt};
pub(crate) use look::Eye;
use look::Seen;
use names::{Judged, Names, TOP};
use prints::duplicates;
pub(crate) use prints::some_of;
use serde_json::json;
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{DeviceChoice, Progress, ProgressMode, compute_with, say};
use simclr_core::config::Config;
use simclr_core::disk;
use simclr_core::run::{checkpoint, layout};
use simclr_core::stages::{self, PRETRAIN};
use simclr_data::ViewMaker;
use simclr_report::plan;
use simclr_report::review::{Drawer, Duplicates, HeldOut, Reliability, Review, Shown, Split};
use simclr_stage::Checkpoint;
use std::collections::BTreeMap;
use std::path::Path;

/// Most pictures whose features are kept, and most numbers of all their features (128 MB).
const MOST_KEPT: usize = 30_000;
const MOST_FEATURES: usize = 32 << 20;
/// Most pictures that are compared with one another for outliers, and neighbours of each.
const MOST_COMPARED: usize = 20_000;
const NEIGHBOURS: usize = 5;
/// Pictures that the report shows: of a class, doubtful ones, groups of copies, copies of a group, outliers.
const OF_CLASS: usize = 8;
const DOUBTFUL: usize = 24;
const GROUPS: usize = 12;
const COPIES: usize = 4;
const OUTLIERS: usize = 16;

/// Options of `simclr-eval review`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReviewArgs {
    /// The experiment
    #[command(flatten)]
    pub experiment: Experiment,

    /// How many pictures to name that should be labeled next
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = cli::size(&bounds::COUNT))]
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

/// Reviews the best network of the experiment in the folder of its runs.
///
/// # Errors
/// When no network has finished yet, the data fails, or a file cannot be written.
pub fn review(args: &ReviewArgs) -> Result<()> {
    compute_with(args.threads)?;
    let config = args.experiment.load()?;
    let found = find(args, &config)?;
    disk::write_json(&args.experiment.run.join(layout::REVIEW), &json!(found))?;
    say(format_args!(
        "{} looked at {} pictures without label; {} to label next: {}",
        found.network,
        found.unlabeled,
        found.next.len(),
        args.experiment.run.join(layout::NEXT_TO_LABEL).display()
    ));
    Ok(())
}

fn find(args: &ReviewArgs, config: &Config) -> Result<Review> {
    let pretrained =
        args.experiment.run.join(stages::named(PRETRAIN).map_or(PRETRAIN.into(), |stage| stage.folder(None)));
    let best = network::best(&plan::jobs(config, &args.experiment.run)?)?;
    // An experiment that began from given weights has no pretraining of its own; one without labels nothing else.
    let encoder = match &best {
        Some(best) if !pretrained.join(layout::CHECKPOINT).is_dir() => &best.dir,
        _ => &pretrained,
    };
    ensure!(
        encoder.is_dir(),
        "{}: no network has finished there yet; run the experiment first",
        args.experiment.run.display()
    );
    let device = args.device.open()?;
    let data = simclr_data::load(&config.data)?;
    let open = |dir: &Path| {
        let checkpoint = Checkpoint::load(dir)?;
        checkpoint.expect_channels(data.train.channels()).map(|()| checkpoint)
    };
    let encoder = open(encoder)?.model()?.on(&device)?;
    let (mut classifier, mut weights) = (None, None);
    if let Some(best) = &best {
        let checkpoint = open(&best.dir)?;
        weights = Some((checkpoint::find(&best.dir)?, checkpoint.sha256.clone()));
        classifier = Some(checkpoint.for_classes(&data.classes)?.model()?.on(&device)?);
    }
    let labeled = best.as_ref().map_or(Vec::new(), |best| best.labeled.clone());
    let maker = ViewMaker::eval(&config.eval, config.data.image_size);
    let eye = Eye { classifier: classifier.as_ref(), encoder: &encoder, maker, batch: config.eval.batch };

    let (train, test, classes) = (&data.train, &data.test, data.classes.len());
    if let Some(last) = labeled.last() {
        ensure!(
            (*last as usize) < train.len(),
            "{}: was made of other data: it used the label of image {last} of {}",
            args.experiment.run.display(),
            train.len()
        );
    }
    let held: Vec<u32> = (0..test.len() as u32).filter(|i| test.label(*i as usize).is_some()).collect();
    let without: Vec<u32> = (0..train.len() as u32).filter(|i| train.label(*i as usize).is_none()).collect();
    // Where every picture has a label the experiment plays that it had few: the others count as unlabeled.
    let pretended = without.is_empty();
    let known: Vec<u32> = match pretended {
        true => labeled.clone(),
        false => (0..train.len() as u32).filter(|i| train.label(*i as usize).is_some()).collect(),
    };
    let unlabeled: Vec<u32> = match pretended {
        true => (0..train.len() as u32).filter(|i| labeled.binary_search(i).is_err()).collect(),
        false => without,
    };
    let dim = encoder.projection.width(0)?;
    let room = MOST_KEPT.min(MOST_FEATURES / dim).max(1);
    let mut notes = Vec::new();
    let mut sample = |of: &[u32], most: usize, which: u64, what: &str| {
        let some = some_of(of, most, config.seed, which);
        if some.len() < of.len() {
            notes.push(format!("of {} {what}, {} at random were compared by their features", of.len(), some.len()));
        }
        some
    };
    let pool_kept = sample(&unlabeled, room, 0, "pictures without label");
    let known_kept = sample(&known, room / 2, 1, "labeled pictures");
    let held_kept = sample(&held, room / 4, 2, "held-out pictures");

    let total = held.len() + known.len() + unlabeled.len();
    let mut progress = Progress::new("review", total as u64, args.progress);
    let mut logits = Vec::new();
    let of_held = eye.look(test, (&held, &held_kept), &mut progress, |_, row| logits.extend_from_slice(row))?;
    let labels: Vec<u32> = of_held.samples.iter().filter_map(|i| test.label(*i as usize)).collect();
    let calibration = match &weights {
        Some((_, sha256)) if !labels.is_empty() => Some(Calibration::fit(&logits, classes, &labels, sha256)?),
        _ => None,
    };
    let temperature = calibration.as_ref().map_or(1.0, |found| found.temperature);
    let judged = |sample: u32, row: &[f32]| {
        if row.is_empty() {
            return Judged { sample, best: Vec::new(), doubt: 0.0 };
        }
        let probabilities = probabilities(row, temperature);
        let best = likeliest(row, TOP).into_iter().map(|c| (c as u32, probabilities[c] as f32)).collect();
        Judged { sample, best, doubt: doubt(&probabilities) }
    };
    let on_held: Vec<Judged> =
        of_held.samples.iter().zip(logits.chunks(classes.max(1))).map(|(sample, row)| judged(*sample, row)).collect();
    let of_known = eye.look(train, (&known, &known_kept), &mut progress, |_, _| {})?;
    let mut on_pool = Vec::with_capacity(unlabeled.len());
    let of_pool = eye.look(train, (&unlabeled, &pool_kept), &mut progress, |s, row| on_pool.push(judged(s, row)))?;
    let damaged = total - of_held.samples.len() - of_known.samples.len() - of_pool.samples.len();
    progress.finish(&format!("{} pictures", total - damaged));

    let doubts: Vec<f32> = of_pool.kept.iter().map(|place| on_pool[*place].doubt).collect();
    let pool = Pool { features: &of_pool.features, dim, doubt: &doubts, labeled: &of_known.features, classes };
    let next = pool.next_to_label(args.count, config.seed)?;
    let next: Vec<&Judged> = next.into_iter().map(|i| &on_pool[of_pool.kept[i]]).collect();

    let names = Names { data: &data, dir: config.data.dir.as_deref() };
    if best.is_some() {
        tables::predictions(&args.experiment.run, &names, &on_pool, &on_held)?;
    }
    tables::next_to_label(&args.experiment.run, &names, &next)?;
    if let (Some(calibration), Some((weights, _))) = (&calibration, &weights) {
        disk::write_json(&weights.with_file_name(layout::CALIBRATION), &json!(calibration))?;
    }
    let guess = |judged: &&Judged| names.guess(Split::Train, judged);
    Ok(Review {
        network: best.as_ref().map_or(PRETRAIN.into(), |best| best.id.clone()),
        title: best.as_ref().map_or("pretraining".into(), |best| best.title.clone()),
        classes: data.classes.clone(),
        labeled: labeled.len(),
        unlabeled: on_pool.len(),
        pretended,
        damaged,
        held_out: calibration.map(|found| held_out(&found, &labels, &on_held)),
        gallery: if best.is_some() { gallery(&names, &on_pool, classes) } else { Vec::new() },
        doubtful: if best.is_some() { most_doubtful(&on_pool).iter().map(guess).collect() } else { Vec::new() },
        next: next.iter().map(guess).collect(),
        duplicates: copies(&names, [&of_held, &of_known, &of_pool]),
        outliers: outliers(&names, [&of_held, &of_known, &of_pool], dim, config.seed)?,
        notes,
    })
}

fn held_out(found: &Calibration, labels: &[u32], on_held: &[Judged]) -> HeldOut {
    let mut counts: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for (label, judged) in labels.iter().zip(on_held) {
        *counts.entry((*label, judged.best[0].0)).or_default() += 1;
    }
    let right: usize = counts.iter().filter(|((a, b), _)| a == b).map(|(_, n)| n).sum();
    HeldOut {
        pictures: labels.len(),
        top1: right as f64 / labels.len() as f64,
        confusion: counts.into_iter().map(|((a, b), n)| (a, b, n)).collect(),
        reliability: Reliability {
            temperature: found.temperature,
            examples: found.examples,
            ece: found.ece,
            bins: found.bins.iter().map(|bin| (bin.count, bin.confidence, bin.accuracy)).collect(),
        },
    }
}

/// Classes by their number; of each the surest pictures.
fn gallery(names: &Names<'_>, on_pool: &[Judged], classes: usize) -> Vec<Drawer> {
    let mut of: Vec<Vec<&Judged>> = vec![Vec::new(); classes];
    on_pool.iter().for_each(|judged| of[judged.best[0].0 as usize].push(judged));
    let drawer = |(class, mut of): (usize, Vec<&Judged>)| {
        of.sort_by(|a, b| b.best[0].1.total_cmp(&a.best[0].1));
        let shown = of.iter().take(OF_CLASS).map(|judged| names.guess(Split::Train, judged)).collect();
        Drawer { class: class as u32, count: of.len(), shown }
    };
    of.into_iter().enumerate().map(drawer).collect()
}

fn most_doubtful(on_pool: &[Judged]) -> Vec<&Judged> {
    let mut order: Vec<&Judged> = on_pool.iter().collect();
    order.sort_by(|a, b| b.doubt.total_cmp(&a.doubt));
    order.truncate(DOUBTFUL);
    order
}

/// The split and index of what stands at each place of three looks: held-out, labeled, unlabeled.
fn places(seen: [&Seen; 3]) -> Vec<(Split, u32)> {
    let [held, known, pool] = seen.map(|seen| seen.samples.iter().copied());
    let train = known.chain(pool).map(|index| (Split::Train, index));
    held.map(|index| (Split::Test, index)).chain(train).collect()
}

fn copies(names: &Names<'_>, seen: [&Seen; 3]) -> Duplicates {
    let of = places(seen);
    let prints: Vec<&prints::Print> = seen.iter().flat_map(|seen| &seen.prints).collect();
    let groups = duplicates(&prints);
    let across = |group: &[usize]| {
        let held = group.iter().filter(|i| of[**i].0 == Split::Test).count();
        if held < group.len() { held } else { 0 }
    };
    let differ = |group: &&Vec<usize>| {
        let mut labels: Vec<u32> = group.iter().filter_map(|i| names.label(of[*i].0, of[*i].1)).collect();
        labels.sort_unstable();
        labels.dedup();
        labels.len() > 1
    };
    let mut order: Vec<&Vec<usize>> = groups.iter().collect();
    order.sort_by_key(|group| across(group) == 0);
    let shown = |group: &&Vec<usize>| group.iter().take(COPIES).map(|i| names.shown(of[*i].0, of[*i].1)).collect();
    Duplicates {
        groups: groups.len(),
        pictures: groups.iter().map(Vec::len).sum(),
        leaks: groups.iter().map(|group| across(group)).sum(),
        disagree: groups.iter().filter(differ).count(),
        shown: order.iter().take(GROUPS).map(shown).collect(),
    }
}

/// Pictures that are far even from those nearest to them.
fn outliers(names: &Names<'_>, seen: [&Seen; 3], dim: usize, seed: u64) -> Result<Vec<(Shown, f32)>> {
    let of = places(seen);
    let mut kept: Vec<(usize, &[f32])> = Vec::new();
    let mut before = 0;
    for seen in seen {
        kept.extend(seen.kept.iter().map(|place| before + place).zip(seen.features.chunks(dim)));
        before += seen.samples.len();
    }
    let all: Vec<u32> = (0..kept.len() as u32).collect();
    let some = some_of(&all, MOST_COMPARED, seed, 3);
    if some.len() <= NEIGHBOURS {
        return Ok(Vec::new());
    }
    let rows: Vec<f32> = some.iter().flat_map(|i| kept[*i as usize].1.iter().copied()).collect();
    let unused = vec![0; some.len()];
    let near = Gallery::new(&rows, &unused)?.nearest(&rows, NEIGHBOURS + 1).context("comparing features")?;
    let mut far: Vec<(usize, f32)> = near
        .iter()
        .enumerate()
        .map(|(own, near)| {
            let others = near.iter().filter(|(i, _)| *i != own).take(NEIGHBOURS).map(|(_, s)| 1.0 - s);
            (own, others.sum::<f32>() / NEIGHBOURS as f32)
        })
        .collect();
    far.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shown = |(i, distance): &(usize, f32)| {
        let (split, index) = of[kept[some[*i] as usize].0];
        (names.shown(split, index), *distance)
    };
    Ok(far.iter().take(OUTLIERS).map(shown).collect())
}
