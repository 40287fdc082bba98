//! What a dataset holds: where it was found, counts, classes, sizes, damaged files, copies, the loader's speed, a sheet of views.

use crate::same;
use anyhow::{Context, Result, ensure};
use rayon::prelude::*;
use serde_json::{Value as Json, json};
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{compute_with, init_log, say, threads};
use simclr_core::config::{Config, Crop, EvalConfig};
use simclr_core::disk;
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::layout;
use simclr_data::{Dataset, Loader, Pictures, ViewMaker};
use simclr_data_tools::sheet::contact_sheet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The loader is measured on batches of at most so many images, for so many seconds.
const BATCH: usize = 256;
const SECONDS: f64 = 3.0;
/// Images on the sheet, those in a row, and the least side of a tile.
const SHOWN: (usize, usize) = (18, 3);
const SIDE: usize = 64;
/// Damaged files that are listed on the terminal.
const LISTED: usize = 10;
/// Classes that are named on the terminal; of more, half as many of the largest and of the smallest.
const NAMED: usize = 20;

/// Options of `inspect-data`.
#[derive(clap::Args)]
pub struct InspectArgs {
    /// The experiment: a TOML file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Write data.json and sheet.png (each image as it is, then two random views) here
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Decode so many images of each split, evenly spread, for sizes and damaged files; 0 decodes all
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = cli::size(&bounds::INDEX))]
    pub check: usize,
    /// Change one key of the experiment; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Threads to decode with [default: one for each core]
    #[arg(long, value_name = "N", value_parser = cli::size(&bounds::THREADS))]
    pub threads: Option<usize>,
}

/// Inspects the experiment's data; prints what it finds.
///
/// # Errors
/// When the experiment, the data or a file to write fails. Damaged pictures are a finding, unless `data.corrupt` is
/// `fail`.
pub fn run(args: &InspectArgs) -> Result<()> {
    compute_with(args.threads)?;
    init_log();
    let config = Config::load(&args.config, &args.set)?;
    let data = simclr_data::load(&config.data)?;
    let mut found = json!({
        "dataset": data.name, "channels": data.train.channels(), "classes": data.classes.len(),
        "class_names": data.classes, "found": data.found,
    });
    say(format_args!("dataset   {}, {} channels, {} classes", data.name, data.train.channels(), data.classes.len()));
    data.found.lines().iter().for_each(|line| say(format_args!("          {line}")));
    let mut prints = Vec::new();
    for (name, pictures) in [("train", &data.train), ("test", &data.test)] {
        let (json, of) = split(name, pictures, &data.classes, args.check)?;
        found[name] = json;
        prints.push(of);
    }
    found["same"] = same::found(&data, &prints).tell();
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
        let path = out.join(layout::SHEET);
        disk::write(&path, &sheet(&config, &data)?)?;
        say(format_args!("sheet     {}", path.display()));
    }
    let rate = loader_rate(&config, data)?;
    say(format_args!(
        "loader    {rate:.0} images/s: two views of {} pixels, {} threads",
        config.data.image_size,
        threads()
    ));
    found["loader"] = json!({"images_per_s": rate, "image_size": config.data.image_size, "threads": threads()});
    if let Some(out) = &args.out {
        disk::write_json(&out.join(layout::INSPECTED), &found)?;
    }
    Ok(())
}

/// Counts of a split, and what decoding some of it tells: with the index of each picture that was decoded, its print.
fn split(name: &str, pictures: &Pictures, classes: &[String], check: usize) -> Result<(Json, Vec<(usize, u64)>)> {
    let n = pictures.len();
    if n == 0 {
        say(format_args!("{name:<9} none"));
        return Ok((json!({"images": 0}), Vec::new()));
    }
    let mut counts = vec![0usize; classes.len()];
    (0..n).filter_map(|i| pictures.label(i)).for_each(|label| counts[label as usize] += 1);
    let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
    let labeled = pictures.labeled();
    say(format_args!("{name:<9} {n} images, {labeled} with a label, {least} to {most} a class"));
    if labeled > 0 {
        say(format_args!("          {}", by_class(classes, &counts)));
    }
    let checked = if check == 0 { n } else { check.min(n) };
    let see = |i: usize| {
        let index = i * n / checked;
        pictures.with(index, |image| (image.height, image.width, (index, same::print(image))))
    };
    let seen = (0..checked).into_par_iter().map(see).collect::<Result<Vec<_>>>()?;
    let (mut heights, mut widths, mut prints) = (Vec::new(), Vec::new(), Vec::new());
    for (height, width, print) in seen.into_iter().flatten() {
        heights.push(height);
        widths.push(width);
        prints.push(print);
    }
    let (heights, widths) = (spread(&mut heights), spread(&mut widths));
    let damaged = pictures.reasons();
    say(format_args!(
        "          {checked} decoded: height {}, width {}, {} damaged",
        heights.1,
        widths.1,
        damaged.len()
    ));
    damaged.iter().take(LISTED).for_each(|(place, reason)| say(format_args!("          {place}: {reason}")));
    if damaged.len() > LISTED {
        say(format_args!("          and {} more", damaged.len() - LISTED));
    }
    let json = json!({
        "images": n, "labeled": labeled, "per_class": {"least": least, "most": most}, "of_each_class": counts,
        "decoded": checked, "height": heights.0, "width": widths.0,
        "damaged": damaged.iter().map(|(place, reason)| json!({"place": place, "reason": reason})).collect::<Vec<_>>(),
    });
    Ok((json, prints))
}

/// Names of the classes with their counts: all, or the largest and the smallest.
fn by_class(classes: &[String], counts: &[usize]) -> String {
    let mut order: Vec<usize> = (0..classes.len()).collect();
    let line = |order: &[usize]| {
        order.iter().map(|i| format!("{} {}", classes[*i], counts[*i])).collect::<Vec<_>>().join(", ")
    };
    if order.len() <= NAMED {
        return line(&order);
    }
    order.sort_by(|a, b| counts[*b].cmp(&counts[*a]).then(a.cmp(b)));
    let (largest, rest) = order.split_at(NAMED / 2);
    let smallest = &rest[rest.len() - NAMED / 2..];
    format!("largest: {}; smallest: {}", line(largest), line(smallest))
}

/// Least, middle and largest, for a program and for people.
fn spread(values: &mut [usize]) -> (Json, String) {
    values.sort_unstable();
    match &*values {
        [] => (Json::Null, "unknown".into()),
        [first, .., last] if first != last => {
            let (first, middle, last) = (*first, values[values.len() / 2], *last);
            (json!({"least": first, "median": middle, "most": last}), format!("{first} to {last} (median {middle})"))
        }
        [one, ..] => (json!({"least": one, "median": one, "most": one}), one.to_string()),
    }
}

/// Images a second that pretraining's loader makes two views of.
fn loader_rate(config: &Config, data: Dataset) -> Result<f64> {
    let train = Arc::new(data.train);
    let maker = ViewMaker::contrastive(&config.augment, config.data.image_size)?;
    let (samples, batch) = ((0..train.len() as u32).collect(), config.pretrain.training.batch.min(BATCH));
    let loader = Loader::new(train, samples, maker, (2, batch), (config.seed, Purpose::Contrastive));
    loader.batch(0)?;
    let (clock, mut step) = (Instant::now(), 0);
    while clock.elapsed().as_secs_f64() < SECONDS {
        step += 1;
        loader.batch(step)?;
    }
    Ok((step * batch as u64) as f64 / clock.elapsed().as_secs_f64())
}

/// Some training images, spread over the set: each as it is, its shorter side cropped to a square, then two views.
fn sheet(config: &Config, data: &Dataset) -> Result<Vec<u8>> {
    let (size, channels, n) = (config.data.image_size, data.train.channels(), data.train.len());
    let plain = ViewMaker::eval(&EvalConfig { crop: Crop::Center(1.0), ..EvalConfig::default() }, size);
    let random = ViewMaker::contrastive(&config.augment, size)?;
    let (mut tiles, shown) = (Vec::new(), SHOWN.0.min(n));
    for index in (0..shown).map(|i| i * n / shown) {
        let key = data.train.key(index);
        let tile = |maker: &ViewMaker, view: u64| {
            data.train.with(index, |image| {
                let mut out = vec![0.0; size * size * channels];
                let rng = Rng::stream(config.seed, Purpose::Contrastive, &[0, key, view]);
                maker.view(image, &rng, &mut out);
                out
            })
        };
        if let (Some(own), Some(first), Some(second)) = (tile(&plain, 0)?, tile(&random, 0)?, tile(&random, 1)?) {
            tiles.extend([own, first, second]);
        }
    }
    ensure!(!tiles.is_empty(), "none of {shown} training images can be decoded");
    contact_sheet(&tiles, size, channels, 3 * SHOWN.1, (SIDE / size).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_classes_are_told_by_their_ends() {
        let names: Vec<String> = (0..40).map(|i| format!("c{i}")).collect();
        let counts: Vec<usize> = (0..40).map(|i| i + 1).collect();
        assert_eq!(by_class(&names[..2], &counts[..2]), "c0 1, c1 2");
        let text = by_class(&names, &counts);
        assert!(text.starts_with("largest: c39 40, c38 39,") && text.ends_with("c1 2, c0 1"), "{text}");
        assert_eq!(text.matches(", ").count(), 18);
    }
}
