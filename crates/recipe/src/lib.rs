//! An experiment for a person's own pictures: looked at, measured, chosen, written.
#![forbid(unsafe_code)]

mod args;
mod choose;
mod facts;
mod look;
mod measure;
mod place;
mod text;

pub use args::RecipeArgs;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use choose::{Choice, Speed, choose, ladder, rung};
use facts::Facts;
use look::{Seen, look};
use simclr_core::cli::{compute_with, device_name, init_log, say, threads};
use simclr_core::config::Config;
use simclr_core::disk;
use simclr_core::readable::duration;
use simclr_core::run::layout;
use simclr_ops::simd;
use std::path::Path;

/// A format is faster than another where it is so many times as fast: below that the exact one is worth more.
const FASTER: f64 = 1.3;

/// Writes the experiment and prints what was found and planned. Where one of the same pictures is there already, it is
/// made anew for the labels that there are now; what pretraining depends on stays as it was.
///
/// # Errors
/// When the pictures cannot be read, or there is an experiment of others.
pub fn run(args: &RecipeArgs) -> Result<()> {
    ensure!(args.hours.is_finite() && args.hours > 0.0, "--hours {}: must be above 0", args.hours);
    compute_with(args.threads)?;
    init_log();
    let place = place::of(args)?;
    let dataset = simclr_data::load(&place.data()).context("--images")?;
    let seen = look(&dataset, &place.data())?;
    drop(dataset);
    let beside = args.out.with_file_name(layout::RECIPE);
    let facts = match facts::read(&beside)? {
        Some(earlier) => {
            let differ = earlier.place.differ(&place);
            ensure!(
                differ.is_empty(),
                "{} was made for other pictures: {}. Choose another --out, or set it aside by --fresh",
                args.out.display(),
                differ.join("; ")
            );
            again(earlier, place, seen)
        }
        None => first(args, place, seen)?,
    };
    if let Some(folder) = args.out.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    disk::write_json(&beside, &serde_json::to_value(&facts).context("what the experiment was made from")?)?;
    disk::write(&args.out, text::experiment(&facts).as_bytes())?;
    // What was written must be an experiment: every check of one holds for it.
    Config::load(&args.out, &[])?;
    tell(&facts, &args.out);
    Ok(())
}

/// All choices, after a few steps that show how fast this machine is.
fn first(args: &RecipeArgs, place: facts::Place, seen: Seen) -> Result<Facts> {
    let device = args.device.open()?;
    let seconds = 3600.0 * args.hours;
    let cheapest = ladder(seen.pictures.side)[0];
    let guess = Speed { rung: cheapest, images_per_s: 1.0 };
    let mut facts = Facts {
        name: place::name(&args.images),
        seed: args.seed,
        device: if device.is_cpu() { format!("{} threads", threads()) } else { device_name(&device) },
        bf16: !device.is_cpu(),
        choice: choose(&seen.pictures, seconds, guess),
        pictures: seen.pictures,
        labels: seen.labels,
        place,
    };
    let mut speed = measured(&facts, cheapest, &device)?;
    if device.is_cpu() && simd::multiplies_bf16().is_some() {
        let trial = Facts { bf16: true, ..facts.clone() };
        let other = measured(&trial, cheapest, &device)?;
        if other.images_per_s > FASTER * speed.images_per_s {
            (facts, speed) = (trial, other);
        }
    }
    let chosen = rung(&facts.pictures, seconds, speed);
    if chosen != cheapest {
        // Other shapes have another speed: what was measured last decides.
        speed = measured(&facts, chosen, &device)?;
        let again = rung(&facts.pictures, seconds, speed);
        if again.cost() < chosen.cost() {
            speed = Speed { rung: again, images_per_s: speed.at(again) };
        }
    }
    facts.choice = choose(&facts.pictures, seconds, speed);
    Ok(facts)
}

/// The speed on a rung, by the experiment that it would make.
fn measured(facts: &Facts, rung: choose::Rung, device: &Device) -> Result<Speed> {
    let guess = Speed { rung, images_per_s: 1.0 };
    let facts = Facts { choice: choose(&facts.pictures, 3600.0, guess), ..facts.clone() };
    let folder = tempfile::tempdir().context("a folder for a draft")?;
    let draft = folder.path().join(layout::OWN_EXPERIMENT);
    disk::write(&draft, text::experiment(&facts).as_bytes())?;
    let mut config = Config::load(&draft, &[])?;
    config.pretrain.training.eval_every = None;
    measure::measure(&config, device, rung)
}

/// The same experiment with the labels that there are now: pretraining stays as it was.
fn again(earlier: Facts, place: facts::Place, seen: Seen) -> Facts {
    let Choice { rung, batch, steps, speed, seconds, small, .. } = earlier.choice;
    let anew = choose(&seen.pictures, seconds.iter().sum(), speed);
    let seconds = [anew.seconds[0], seconds[1], anew.seconds[2], seconds[3], seconds[4]];
    let choice = Choice { rung, batch, steps, speed, seconds, small, ..anew };
    let pictures =
        choose::Pictures { side: earlier.pictures.side, channels: earlier.pictures.channels, ..seen.pictures };
    Facts { place, pictures, choice, labels: seen.labels, ..earlier }
}

fn tell(facts: &Facts, out: &Path) {
    let Facts { pictures, choice, .. } = facts;
    say(format_args!(
        "pictures   {} to learn from, {} of them labeled, {} classes; {} to measure on",
        pictures.train, pictures.labeled, pictures.classes, pictures.test
    ));
    say(format_args!(
        "network    ResNet-{} of width {}, views of {} pixels, {} channels{}, batches of {}; {:.0} pictures/s on {}",
        choice.rung.depth,
        choice.rung.width,
        choice.rung.size,
        pictures.channels,
        if facts.bf16 { ", bf16" } else { "" },
        choice.batch,
        choice.speed.images_per_s,
        facts.device
    ));
    let steps = [choice.labeled_steps[1], choice.steps[0], choice.labeled_steps[0], choice.steps[1], choice.steps[2]];
    let names = ["from scratch, to compare with", "pretraining", "fine-tuning", "distillation", "the small network"];
    for ((name, steps), seconds) in names.into_iter().zip(steps).zip(choice.seconds) {
        say(format_args!("           {name:<30} {steps:>8} steps {:>12}", duration(seconds)));
    }
    say(format_args!("           {:<30} {:>8}       {:>12}", "in all", "", duration(choice.seconds.iter().sum())));
    if pictures.labeled == 0 {
        say(format_args!(
            "labels     none yet: pretraining alone runs, and {} will say which pictures to label first",
            layout::NEXT_TO_LABEL
        ));
    }
    say(format_args!("experiment {}", out.display()));
}
