//! The experiment as a file: an ordinary TOML with a comment on each choice.

use crate::choose::{Choice, Pictures};
use crate::facts::{Facts, Place};
use simclr_core::readable::duration;
use std::fmt::Write;

/// The text of the experiment; a pure function of the facts.
pub fn experiment(facts: &Facts) -> String {
    let (pictures, choice) = (&facts.pictures, &facts.choice);
    let mut out = head(facts);
    out += &data(&facts.place, pictures, choice);
    out += &network(pictures, choice);
    out += &pretraining(pictures, choice);
    out += &on_labels(pictures, choice);
    out + &students(choice)
}

fn head(facts: &Facts) -> String {
    let total: f64 = facts.choice.seconds.iter().sum();
    format!(
        "# Made for {} pictures, {} of them labeled, and about {} of {}. Every line may be changed; a finished stage is\n\
         # kept, and another choice needs another folder (--out) or --fresh.\n\n\
         name = {}\nseed = {}\n{}\n",
        facts.pictures.train,
        facts.pictures.labeled,
        duration(total),
        facts.device,
        quoted(&facts.name),
        facts.seed,
        if facts.bf16 { "# This machine multiplies bf16 much faster than f32.\ndtype = \"bf16\"\n" } else { "" }
    )
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::String(text.into()).to_string()
}

fn data(place: &Place, pictures: &Pictures, choice: &Choice) -> String {
    let mut out = format!("[data]\ndataset = {}\ndir = {}\n", quoted(&place.dataset), quoted(&place.dir));
    let mut key = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(out, "{name} = {}", quoted(value));
        }
    };
    key("labels", &place.labels);
    key("unlabeled", &place.unlabeled);
    key("test", &place.test);
    if let Some(share) = place.held_out {
        let _ = writeln!(out, "held_out = {share:?}");
    }
    let of = if pictures.side > choice.rung.size { "of larger ones" } else { "as they are" };
    let _ = write!(
        out,
        "# The middle picture has {} pixels at its shorter side; views are squares {of}.\nimage_size = {}\n",
        pictures.side, choice.rung.size
    );
    if pictures.channels != 3 {
        let why = if place.channels.is_none() { "# All that were looked at are gray.\n" } else { "" };
        let _ = writeln!(out, "{why}channels = {}", pictures.channels);
    }
    // A photo says itself which way is up.
    out += "orientation = true\n# A JPEG that was cut short keeps the rows that are there.\non_truncated = \"keep\"\n";
    if pictures.train <= 50_000 {
        out += "# Decoded pictures that are kept in memory, MiB.\ncache = 1024\n";
    }
    out + "\n"
}

fn network(pictures: &Pictures, choice: &Choice) -> String {
    let rung = choice.rung;
    let stem = if rung.coarse() { "imagenet" } else { "cifar" };
    let colour = if pictures.channels == 3 { "0.5" } else { "1.0" };
    let blur = if rung.size > 64 { "0.5" } else { "0.0" };
    format!(
        "# The largest network with which pretraining sees enough pictures in its time. Measured here, {:.0} pictures/s.\n\
         [model]\ndepth = {}\nwidth = {:?}\nstem = \"{stem}\"\n\n\
         # Two random views of each picture, which the network learns to tell from all others. What should not matter to\n\
         # you belongs here: set flip = false where left and right differ, a lower color_strength where colour tells classes.\n\
         [augment]\nmin_area = 0.25\ncolor_strength = {colour}\nblur_probability = {blur}\n\n\
         {}\n\n",
        choice.speed.images_per_s,
        rung.depth,
        rung.width,
        if pictures.labeled == 0 { UNLABELED } else { LABELED }
    )
}

const LABELED: &str = "# The methods are compared on all labels that there are; \"10-per-class\" or a share would use fewer.\n\
    [reproduce]\nlabels = [\"all\"]";
const UNLABELED: &str = "# No picture has a label yet: pretraining alone runs, and next-to-label.csv says which to label first. With\n\
    # labels the same command goes on.\n[reproduce]\nlabels = []";

/// A table `training`: SGD at a rate for the batch.
fn training(table: &str, steps: u64, batch: usize, rate: f64, decay: f64, checks: u64) -> String {
    let every = (steps / checks).max(1);
    format!(
        "[{table}.training]\nlength = {{ steps = {steps} }}\nwarmup = {{ steps = {} }}\nbatch = {batch}\n\
         learning_rate = {rate:?}\nscaling = \"none\"\noptimizer = \"sgd\"\nweight_decay = {decay:?}\n\
         eval_every = {{ steps = {every} }}\n\n",
        (steps / 20).min(20)
    )
}

/// The rate of pretraining and of distillation for a batch.
fn rate(batch: usize) -> f64 {
    (RATE * batch as f64 / 128.0 * 1e4).round() / 1e4
}

/// Of a batch of 128.
const RATE: f64 = 0.15;

fn pretraining(pictures: &Pictures, choice: &Choice) -> String {
    let [steps, ..] = choice.steps;
    let epochs = steps as f64 * choice.batch as f64 / pictures.train.max(1) as f64;
    format!(
        "# Step one, without labels: each picture is seen {epochs:.0} times, in about {}.\n\
         [pretrain]\ntemperature = 0.25\n\n{}",
        duration(choice.seconds[1]),
        training("pretrain", steps, choice.batch, rate(choice.batch), 1e-4, 3)
    )
}

/// Labels a class up to which the encoder stays as pretraining left it: so few would spoil more than they teach.
const FEW: usize = 30;

/// Smallest share of a picture that a crop keeps where labels are learned.
fn crops(choice: &Choice) -> &'static str {
    // Of a small picture a part seldom shows what it is.
    if choice.rung.coarse() { "0.35" } else { "0.8" }
}

fn on_labels(pictures: &Pictures, choice: &Choice) -> String {
    let ([tuned, scratch], batch, crops) = (choice.labeled_steps, choice.labeled_batch, crops(choice));
    let few = pictures.labeled <= FEW * pictures.classes.max(1);
    let moved = match few {
        true => {
            "# Of so few a class the encoder is left as it is, and the head learns.\nproj_selector = 2\nfreeze_after = 4"
        }
        false => "proj_selector = 1",
    };
    format!(
        "# Step two, on the {} labels: about {}.\n[finetune]\n{moved}\nmin_area = {crops}\n\n{}\
         # The same network from scratch, to compare with: about {}.\n[supervised]\nmin_area = {crops}\n\n{}",
        pictures.labeled,
        duration(choice.seconds[2]),
        training("finetune", tuned, batch, 0.1, 5e-4, 2),
        duration(choice.seconds[0]),
        training("supervised", scratch, batch, 0.2, 2e-3, 2)
    )
}

fn students(choice: &Choice) -> String {
    let ([_, own, small], batch, crops) = (choice.steps, choice.batch, crops(choice));
    format!(
        "# Step three: the same network learns its own predictions on all pictures, labeled or not: about {}.\n\
         [distill.self]\ninit_from_teacher = true\ntemperature = 2.0\nmin_area = {crops}\n\n{}\
         # A quarter of its size learns from it, for use: about {}.\n\
         [distill.small]\nteacher = \"self\"\ntemperature = 2.0\nmin_area = {crops}\n\
         model = {{ depth = {}, width = {:?}, stem = \"{}\" }}\n\n{}\
         # Neighbours of a picture among the labeled ones.\n[eval]\nknn_k = 20\n",
        duration(choice.seconds[3]),
        training("distill.self", own, batch, rate(batch) / 3.0, 1e-4, 2),
        duration(choice.seconds[4]),
        choice.rung.depth,
        choice.small,
        if choice.rung.coarse() { "imagenet" } else { "cifar" },
        training("distill.small", small, batch, rate(batch), 1e-4, 2)
    )
}
