//! `--estimate`: what a pretraining step takes on GPUs, in time and memory, for people.

use crate::objective::{Given, Objective, choose};
use anyhow::{Context, Result};
use simclr_core::config::{Config, Dtype};
use simclr_core::train::Schedule;
use simclr_estimate::{Gpu, H100, KINDS, Links, LossCost, Mode, Work, seconds};
use simclr_model::outline::{Op, Outline};
use simclr_model::{ModelSpec, SimClr};
use std::fmt::Write;

/// GPUs that runs are estimated on where nobody says.
const GPUS: [usize; 2] = [1, 8];
/// Images a second that one core makes two views of, from JPEG files at 224 pixels (docs/data.md).
const LOADER: f64 = 450.0;
const DAY: f64 = 86400.0;
const LINKS: Links = Links::NVLINK_AND_NDR;

/// What pretraining's steps are made of.
pub struct Pretraining {
    model: SimClr,
    objective: Box<dyn Objective>,
    size: usize,
    width: f64,
}

impl Pretraining {
    /// The network and the objective of an experiment, for images of so many channels, with an online head for so many classes, or
    /// none for 0; `steps` is the length of the run.
    ///
    /// # Errors
    /// When the experiment describes no network or no objective.
    pub fn new(config: &Config, (channels, classes): (usize, usize), steps: u64) -> Result<Self> {
        let size = config.data.image_size;
        let model = SimClr::blank(&ModelSpec::new(&config.model, channels, size, classes, 0))?;
        let objective = choose(&Given { config: &config.pretrain, model: &model, seed: config.seed, steps })?;
        Ok(Self { model, objective, size, width: config.model.proj_dim as f64 })
    }

    /// The network's operations.
    ///
    /// # Errors
    /// When its backbone does not tell them.
    pub fn outline(&self) -> Result<Outline<'_>> {
        self.model.outline(self.size).with_context(|| {
            format!(
                "there is no estimate for the backbone \"{}\": it does not say what its layers do. A few steps of the run \
                 itself tell (images_per_s in metrics.jsonl)",
                self.model.spec.model.backbone.name
            )
        })
    }

    /// Views of an image.
    pub fn views(&self) -> usize {
        self.objective.views()
    }

    /// What the loss of so many images costs over all GPUs.
    pub fn loss(&self, images: f64) -> LossCost {
        self.objective.cost(images, self.width)
    }

    /// Whether it can do with a part of the batch at a time in the network.
    pub fn runs_in_chunks(&self) -> bool {
        self.objective.runs_in_chunks()
    }

    /// A step, of the network's operations and of [`Self::loss`].
    pub fn work<'a>(&'a self, outline: &'a Outline<'a>, loss: &'a dyn Fn(f64) -> LossCost) -> Work<'a> {
        Work::of(outline, &self.model, (self.size, self.objective.views() as f64), loss)
    }
}

/// The estimate of an experiment's pretraining, for people; `examples` images are an epoch of a dataset of `channels`. Runs are
/// estimated on so many `gpus`; on one and on eight, where none is given. The online head is left out.
///
/// # Errors
/// When the experiment describes no network.
pub fn estimate(config: &Config, (examples, channels): (usize, usize), gpus: Option<usize>) -> Result<String> {
    let (size, training) = (config.data.image_size, &config.pretrain.training);
    let steps = Schedule::new(training, examples).total;
    let of = Pretraining::new(config, (channels, 0), steps)?;
    let (outline, loss) = (of.outline()?, |images| of.loss(images));
    let work = of.work(&outline, &loss);
    let (batch, steps) = (training.batch as f64, training.length.steps(examples, training.batch) as f64);
    let modes = [Dtype::F32, Dtype::Bf16].map(|dtype| Mode { dtype, recompute: training.recompute });
    let gpu = &H100;
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}");
    let giga = outline.ops().map(Op::multiply_adds).sum::<usize>() as f64 / 1e9;
    line(format!(
        "{}: {}, {:.1} M parameters, {giga:.2} G multiply-adds a view of {size} pixels",
        config.name,
        config.model.title(),
        of.model.store.count(|_| true) as f64 / 1e6
    ))?;
    line(format!(
        "a step of {batch} images, {} views each, on one {} (lower bounds: {:.2} TB/s, {:.0} TFLOP/s TF32, {:.0} bf16)\n",
        if of.views() == 2 { "two".into() } else { of.views().to_string() },
        gpu.name,
        gpu.bandwidth / 1e12,
        gpu.tf32 / 1e12,
        gpu.bf16 / 1e12
    ))?;
    line(format!("{:<32}{:>12}{:>12}", "milliseconds", "f32 (TF32)", "bf16"))?;
    let costs = modes.map(|mode| work.costs(gpu, mode, (batch, batch), 0.0));
    for (i, kind) in KINDS.iter().enumerate().filter(|(i, _)| costs[0][*i].seconds > 0.0) {
        line(format!("{kind:<32}{:>12.1}{:>12.1}", 1e3 * costs[0][i].seconds, 1e3 * costs[1][i].seconds))?;
    }
    let totals = costs.map(|c| seconds(&c));
    line(format!("{:<32}{:>12.1}{:>12.1}", "all", 1e3 * totals[0], 1e3 * totals[1]))?;
    let share = costs.map(|c| 100.0 * c.iter().map(|c| c.by_compute).sum::<f64>() / seconds(&c));
    line(format!("{:<32}{:>12.0}{:>12.0}", "% bound by multiplications", share[0], share[1]))?;
    let worst = costs.map(|c| (0..KINDS.len()).fold(0, |w, i| if c[i].seconds > c[w].seconds { i } else { w }));
    line(format!("the bottleneck: {} in f32, {} in bf16\n", KINDS[worst[0]], KINDS[worst[1]]))?;

    line(format!("{:<32}{:>12}{:>12}", "largest batch in 80 GB", "f32 (TF32)", "bf16"))?;
    let shown = |fits: Option<usize>| fits.map_or("none".into(), |n| n.to_string());
    for (name, recompute) in [("all activations kept", false), ("recompute = true", true)] {
        let of = |m: Mode| shown(work.fits(gpu, Mode { recompute, ..m }, None));
        line(format!("{name:<32}{:>12}{:>12}", of(modes[0]), of(modes[1])))?;
    }
    if of.runs_in_chunks() {
        let of = |m: Mode| shown(work.fits(gpu, Mode { recompute: false, ..m }, Some((batch, batch))));
        line(format!("{:<32}{:>12}{:>12}", format!("chunk, of a batch of {batch}"), of(modes[0]), of(modes[1])))?;
    }
    line(format!(
        "\nruns, of which {:.0} % of these speeds is expected, as a ResNet-50 at 224 pixels reached on an H200:",
        100.0 * gpu.reached
    ))?;
    for gpus in gpus.map_or(GPUS.to_vec(), |gpus| vec![gpus]) {
        for (mode, name) in modes.iter().zip(["f32", "bf16"]) {
            line(run(&work, gpu, (*mode, name), (training.batch, of.runs_in_chunks()), steps, gpus))?;
        }
    }
    if let Some(gpus) = gpus.filter(|gpus| (2..=training.batch).contains(gpus)) {
        line(told(&work, gpu, (training.recompute, of.runs_in_chunks()), training.batch, gpus))?;
    }
    let feed = totals.map(|total| batch / total * gpu.reached);
    line(format!(
        "\nto feed one GPU: {:.0} images/s in f32, {:.0} in bf16; uploads take {:.1} % of bf16's time over PCIe 5",
        feed[0],
        feed[1],
        100.0 * work.views * work.image * modes[1].size() / gpu.pcie * feed[1]
    ))?;
    if size == 224 {
        let cores = feed.map(|feed| (feed / LOADER).ceil());
        line(format!("cores for that, at {LOADER} images/s each: {} in f32, {} in bf16", cores[0], cores[1]))?;
    }
    Ok(out)
}

/// How long a run takes on so many GPUs, in words.
fn run(
    work: &Work<'_>,
    gpu: &Gpu,
    (mode, name): (Mode, &str),
    (batch, chunks): (usize, bool),
    steps: f64,
    gpus: usize,
) -> String {
    let head = format!("{steps} steps on {gpus} {} in {name}:", gpu.name);
    if gpus > batch {
        return format!("{head} a batch of {batch} images leaves some GPUs without any");
    }
    let Some(step) = work.step((gpu, &LINKS), (mode.dtype, mode.recompute, chunks), batch, gpus) else {
        return format!("{head} does not fit in {:.0} GB", gpu.memory / 1e9);
    };
    let days = steps * step.seconds() / DAY;
    let told = match gpus {
        1 => String::new(),
        _ => format!(
            ", {:.0} % of it waiting for one another; {:.2} GB sent by a GPU in a step",
            100.0 * (1.0 - step.efficiency()),
            step.sent() / 1e9
        ),
    };
    format!("{head} {days:.2} days ({}, {:.0} GB{told})", step.way, step.memory / 1e9)
}

/// What each of so many GPUs tells the others in a step in bf16; nothing where it does not fit.
fn told(work: &Work<'_>, gpu: &Gpu, (recompute, chunks): (bool, bool), batch: usize, gpus: usize) -> String {
    let Some(step) = work.step((gpu, &LINKS), (Dtype::Bf16, recompute, chunks), batch, gpus) else {
        return String::new();
    };
    let mut text = format!(
        "\n{:<26}{:<26}{:>7}{:>16}{:>14}{:>8}\n",
        format!("a step on {gpus}, in bf16"),
        "when",
        "calls",
        "MB handed over",
        "MB sent",
        "ms"
    );
    for told in &step.exchanges {
        text += &format!(
            "{:<26}{:<26}{:>7}{:>16.3}{:>14.3}{:>8.2}\n",
            told.what,
            told.when,
            told.calls,
            told.bytes / 1e6,
            told.sent / 1e6,
            1e3 * told.seconds
        );
    }
    text += &format!(
        "it computes for {:.1} ms, waits {:.1} for others, and {:.1} for what is left of the gradients' sums: efficiency {:.2}",
        1e3 * step.compute,
        1e3 * step.waits,
        1e3 * step.exposed,
        step.efficiency()
    );
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::objective::{Cost, Learned, NtXent, Views};
    use serde_json::json;

    fn config(depth: usize, batch: usize) -> Config {
        let training = json!({"length": {"steps": 100}, "batch": batch, "learning_rate": 1.0});
        serde_json::from_value(json!({
            "name": "estimated", "data": {"dataset": "textures", "image_size": 224},
            "model": {"depth": depth, "stem": "imagenet"}, "pretrain": {"training": training},
            "finetune": {"training": training}, "supervised": {"training": training},
        }))
        .unwrap()
    }

    /// NT-Xent with a second encoder beside it.
    struct Twice(NtXent);

    impl Objective for Twice {
        fn loss(&mut self, views: &Views<'_>) -> Result<Learned> {
            self.0.loss(views)
        }

        fn cost(&self, images: f64, width: f64) -> Cost {
            let cost = self.0.cost(images, width);
            Cost { forwards: 1.0, held: cost.held + 1e9, ..cost }
        }
    }

    #[test]
    fn the_objective_tells_its_own_costs() {
        let mode = Mode { dtype: Dtype::F32, recompute: false };
        let all: [Box<dyn Objective>; 2] = [Box::new(NtXent::new(0.1)), Box::new(Twice(NtXent::new(0.1)))];
        let [once, twice] = all.map(|objective| {
            let of = Pretraining { objective, ..Pretraining::new(&config(50, 256), (3, 0), 100).unwrap() };
            let (outline, loss) = (of.outline().unwrap(), |images| of.loss(images));
            let work = of.work(&outline, &loss);
            let time = |more| seconds(&work.costs(&H100, mode, (64.0, 64.0), more));
            (time(0.0), time(1.0), work.memory(&H100, mode, (64.0, 64.0), None))
        });
        assert!((twice.0 / once.1 - 1.0).abs() < 1e-12, "another forward of all views");
        assert_eq!(twice.2, once.2 + 1e9);
    }

    #[test]
    fn the_page_names_network_and_bottleneck() {
        let text = estimate(&config(50, 4096), (1_281_167, 3), None).unwrap();
        for part in ["4.1", "largest batch in 80 GB", "the bottleneck: ", "100 steps on 8 H100 in bf16: "] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        let text = estimate(&config(50, 4096), (1_281_167, 3), Some(32)).unwrap();
        assert!(text.contains("on 32 H100") && !text.contains("on 8 H100"), "{text}");
        assert!(text.contains("moments of batch norm") && text.contains("efficiency 0."), "{text}");
        let text = estimate(&config(50, 64), (1_281_167, 3), Some(65)).unwrap();
        assert!(text.contains("a batch of 64 images leaves some GPUs without any"), "{text}");
    }
}
