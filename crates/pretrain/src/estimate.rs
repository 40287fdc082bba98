//! `--estimate`: time and memory of a pretraining step on a GPU, from first principles.
//!
//! Every operation costs what its numbers take to pass through memory, or what its multiplications take, whichever is
//! more (the roofline): a lower bound, of a GPU that always reaches its peaks. Nothing here was measured.

use crate::objective::{Given, Objective, choose};
use anyhow::{Context, Result};
use simclr_core::config::{Config, Dtype};
use simclr_core::train::Schedule;
use simclr_model::outline::{Op, Outline};
use simclr_model::{ModelSpec, SimClr};
use std::fmt::Write;

/// Of an H100 SXM: bytes a second through its memory.
const BANDWIDTH: f64 = 3.35e12;
/// Multiplications and additions a second, dense: of TF32, of bf16, and of f32 without tensor cores.
const TF32: f64 = 495e12;
const BF16: f64 = 990e12;
const F32: f64 = 67e12;
/// Its memory, bytes.
const MEMORY: f64 = 80e9;
/// What cuDNN may use beside, bytes (ops/src/cuda/conv.rs).
const WORKSPACE: f64 = (1u64 << 30) as f64;
/// Bytes a second: between GPUs in one direction (NVLink), and up to a GPU (PCIe 5).
const NVLINK: f64 = 450e9;
const PCIE: f64 = 64e9;
/// The bits that tell what a ReLU lets through, beside the map's own bytes: a byte for 16 of them.
const MASK: f64 = 1.0 / 16.0;
/// Seconds that a small exchange between GPUs takes, whatever its size: an assumption.
const EXCHANGE: f64 = 20e-6;
/// GPUs of the larger machine.
const GPUS: usize = 8;
/// Images a second that one core makes two views of, from JPEG files at 224 pixels (docs/data.md).
const LOADER: f64 = 450.0;
const DAY: f64 = 86400.0;

/// What a step consists of, in the order of the table.
const KINDS: [&str; 8] = [
    "convolutions, forward",
    "convolutions, input gradients",
    "convolutions, weight gradients",
    "batch norm",
    "pools, gates, sums",
    "projection head",
    "contrastive loss",
    "optimiser",
];

/// Seconds of one kind of operation, and how many of them the multiplications bound.
#[derive(Clone, Copy, Default)]
struct Cost {
    seconds: f64,
    by_compute: f64,
}

impl Cost {
    fn add(&mut self, flops: f64, peak: f64, bytes: f64) {
        let (compute, memory) = (flops / peak, bytes / BANDWIDTH);
        self.seconds += compute.max(memory);
        self.by_compute += if compute > memory { compute } else { 0.0 };
    }
}

/// How maps are stored, and what is kept of them.
#[derive(Clone, Copy)]
struct Mode {
    dtype: Dtype,
    recompute: bool,
}

impl Mode {
    /// Bytes of a map's number.
    fn size(self) -> f64 {
        match self.dtype {
            Dtype::F32 => 4.0,
            Dtype::Bf16 => 2.0,
        }
    }

    fn peak(self) -> f64 {
        match self.dtype {
            Dtype::F32 => TF32,
            Dtype::Bf16 => BF16,
        }
    }
}

/// A network, and the sizes that a step's cost follows from.
struct Estimate<'a> {
    outline: &'a Outline<'a>,
    objective: &'a dyn Objective,
    parameters: f64,
    /// Width of a projection.
    dim: f64,
    /// Numbers of an image.
    image: f64,
}

impl Estimate<'_> {
    fn views(&self) -> f64 {
        self.objective.views() as f64
    }

    /// The kinds of a step on `batch` images, all views of each; `more` further forwards through the whole network.
    fn step(&self, mode: Mode, batch: f64, more: f64) -> [Cost; KINDS.len()] {
        let mut costs = [Cost::default(); KINDS.len()];
        let (views, size, peak) = (self.views() * batch, mode.size(), mode.peak());
        let loss = self.objective.cost(batch, self.dim);
        let blocks = 1..self.outline.parts.len() - 1;
        for (i, part) in self.outline.parts.iter().enumerate() {
            let forwards = 1.0 + more + loss.forwards + if mode.recompute && blocks.contains(&i) { 1.0 } else { 0.0 };
            for op in part {
                let flops = 2.0 * views * op.multiply_adds() as f64;
                // Passes over maps of so many numbers, and bytes besides.
                let bytes = |numbers: f64, plain: f64| views * size * numbers + plain;
                let mut cost = |kind: usize, times: f64, flops: f64, bytes: f64| {
                    costs[kind].add(times * flops, peak, times * bytes);
                };
                match *op {
                    Op::Conv { from, to, kernel, first } => {
                        let weights = (kernel * kernel * from.channels * to.channels) as f64;
                        let moved = bytes((from.numbers() + to.numbers()) as f64, 4.0 * weights);
                        cost(0, forwards, flops, moved);
                        if !first {
                            cost(1, 1.0, flops, moved);
                        }
                        cost(2, 1.0, flops, moved);
                    }
                    // Forward: moments read once, the rest reads and writes. Back: sums read x and dy, the rest reads both
                    // and writes. A residual is read, and what ReLU lets through is written as bits; back, these mask dy
                    // on the way, which is written.
                    Op::Norm { map, residual, .. } => {
                        let more = if residual { 1.0 + MASK } else { 0.0 };
                        cost(3, forwards, 0.0, bytes((3.0 + more) * map.numbers() as f64, 0.0));
                        cost(3, 1.0, 0.0, bytes((5.0 + more) * map.numbers() as f64, 0.0));
                    }
                    // With a byte for the place of each maximum, written and read.
                    Op::Pool { from, to } => {
                        let moved = bytes((from.numbers() + to.numbers()) as f64, views * to.numbers() as f64);
                        cost(4, forwards, 0.0, moved);
                        cost(4, 1.0, 0.0, moved);
                    }
                    // Read for the means and under the gates; back: x, dy and dx, and dx again for the means.
                    Op::Gate { from, to } => {
                        let (from, to) = (from.numbers() as f64, to.numbers() as f64);
                        cost(4, forwards, 0.0, bytes(2.0 * from + to, 0.0));
                        cost(4, 1.0, 0.0, bytes(4.0 * from + to, 0.0));
                    }
                    // Back: dy is masked where it stands, and copied.
                    Op::Add { map } => {
                        let moved = bytes((3.0 + MASK) * map.numbers() as f64, 0.0);
                        cost(4, forwards, 0.0, moved);
                        cost(4, 1.0, 0.0, moved);
                    }
                    Op::Dense { from, to } => {
                        let moved = 4.0 * (views * (from + to) as f64 + (from * to) as f64);
                        costs[5].add((2.0 + forwards) * flops, TF32, (2.0 + forwards) * moved);
                    }
                }
            }
        }
        costs[6].add(loss.operations, F32, loss.moved);
        // LARS reads weights, gradients and momentum, then reads them again and writes two.
        costs[7].add(0.0, F32, 4.0 * 8.0 * self.parameters);
        costs
    }

    /// Bytes that are there at once: with all activations, with those of one block, or of `chunk` images at a time.
    fn memory(&self, mode: Mode, batch: f64, chunk: Option<f64>) -> f64 {
        let kept = |part: &[Op]| part.iter().map(|op| op.kept()).sum::<usize>() as f64;
        // In the backward pass, part by part: what earlier parts keep, what this one does, and the gradients at hand: those of
        // an operation's two maps, and one that waits for the shortcut's.
        let (mut earlier, mut held) = (0.0, 0.0f64);
        for (i, part) in self.outline.parts.iter().enumerate() {
            let gradients = 1.5 * part.iter().map(|op| span(*op)).fold(0.0, f64::max);
            held = held.max(earlier + kept(part) + gradients);
            let block = i > 0 && i + 1 < self.outline.parts.len();
            // A block that is recomputed keeps its output alone, the next one's input.
            earlier += if mode.recompute && block { kept(&part[part.len() - 1..]) } else { kept(part) };
        }
        let views = self.views() * chunk.unwrap_or(batch);
        // Weights, gradients, momentum; what the loss holds; two batches of images.
        let fixed = 3.0 * 4.0 * self.parameters + WORKSPACE;
        let loss = self.objective.cost(batch, self.dim).held;
        fixed + loss + mode.size() * (2.0 * self.views() * batch * self.image + views * held)
    }

    /// The largest batch (or chunk of `batch`, where given) that fits, if one does.
    fn fits(&self, mode: Mode, batch: Option<f64>) -> Option<usize> {
        let of = |n: usize| match batch {
            None => self.memory(mode, n as f64, None),
            Some(batch) => self.memory(mode, batch, Some(n as f64)),
        };
        let (mut low, mut high) = (0, 1usize << 20);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if of(middle) <= MEMORY { low = middle } else { high = middle }
        }
        (low > 1).then_some(low)
    }
}

/// Numbers that an operation has at hand in the backward pass: both of its maps.
fn span(op: Op) -> f64 {
    let numbers = match op {
        Op::Conv { from, to, .. } | Op::Pool { from, to } | Op::Gate { from, to } => from.numbers() + to.numbers(),
        Op::Norm { map, .. } | Op::Add { map } => 2 * map.numbers(),
        Op::Dense { .. } => 0,
    };
    numbers as f64
}

fn seconds(costs: &[Cost]) -> f64 {
    costs.iter().map(|c| c.seconds).sum()
}

/// The estimate of an experiment's pretraining, for people; `examples` images are an epoch of a dataset of `channels`.
///
/// # Errors
/// When the experiment describes no network.
pub fn estimate(config: &Config, examples: usize, channels: usize) -> Result<String> {
    let (size, training) = (config.data.image_size, &config.pretrain.training);
    let model = SimClr::blank(&ModelSpec::new(&config.model, channels, size, 0, 0))?;
    let outline = model.outline(size).with_context(|| {
        format!(
            "there is no estimate for the backbone \"{}\": it does not say what its layers do. A few steps of the run itself \
             tell (images_per_s in metrics.jsonl)",
            config.model.backbone.name
        )
    })?;
    let steps = Schedule::new(training, examples).total;
    let given = Given { config: &config.pretrain, model: &model, seed: config.seed, steps };
    let objective = choose(&given)?;
    let estimate = Estimate {
        outline: &outline,
        objective: objective.as_ref(),
        parameters: model.store.count(|_| true) as f64,
        dim: config.model.proj_dim as f64,
        image: (size * size * channels) as f64,
    };
    let (batch, steps) = (training.batch as f64, training.length.steps(examples, training.batch) as f64);
    let modes = [Dtype::F32, Dtype::Bf16].map(|dtype| Mode { dtype, recompute: training.recompute });
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}");
    let giga = outline.ops().map(Op::multiply_adds).sum::<usize>() as f64 / 1e9;
    line(format!(
        "{}: {}, {:.1} M parameters, {giga:.2} G multiply-adds a view of {size} pixels",
        config.name,
        config.model.title(),
        estimate.parameters / 1e6
    ))?;
    line(format!(
        "a step of {batch} images, {} views each, on one H100 (lower bounds: {:.2} TB/s, {:.0} TFLOP/s TF32, {:.0} bf16)\n",
        if objective.views() == 2 { "two".into() } else { objective.views().to_string() },
        BANDWIDTH / 1e12,
        TF32 / 1e12,
        BF16 / 1e12
    ))?;
    line(format!("{:<32}{:>12}{:>12}", "milliseconds", "f32 (TF32)", "bf16"))?;
    let costs = modes.map(|mode| estimate.step(mode, batch, 0.0));
    for (i, kind) in KINDS.iter().enumerate() {
        line(format!("{kind:<32}{:>12.1}{:>12.1}", 1e3 * costs[0][i].seconds, 1e3 * costs[1][i].seconds))?;
    }
    let totals = costs.map(|c| seconds(&c));
    line(format!("{:<32}{:>12.1}{:>12.1}", "all", 1e3 * totals[0], 1e3 * totals[1]))?;
    let share = |c: &[Cost]| 100.0 * c.iter().map(|c| c.by_compute).sum::<f64>() / seconds(c);
    line(format!("{:<32}{:>12.0}{:>12.0}", "% bound by multiplications", share(&costs[0]), share(&costs[1])))?;
    let worst = costs.map(|c| (0..KINDS.len()).fold(0, |w, i| if c[i].seconds > c[w].seconds { i } else { w }));
    line(format!("the bottleneck: {} in f32, {} in bf16\n", KINDS[worst[0]], KINDS[worst[1]]))?;

    line(format!("{:<32}{:>12}{:>12}", "largest batch in 80 GB", "f32 (TF32)", "bf16"))?;
    let shown = |fits: Option<usize>| fits.map_or("none".into(), |n| n.to_string());
    for (name, recompute) in [("all activations kept", false), ("recompute = true", true)] {
        let of = |m: Mode| shown(estimate.fits(Mode { recompute, ..m }, None));
        line(format!("{name:<32}{:>12}{:>12}", of(modes[0]), of(modes[1])))?;
    }
    if objective.runs_in_chunks() {
        let of = |m: Mode| shown(estimate.fits(Mode { recompute: false, ..m }, Some(batch)));
        line(format!("{:<32}{:>12}{:>12}", format!("chunk, of a batch of {batch}"), of(modes[0]), of(modes[1])))?;
    }
    line(String::new())?;

    for gpus in [1, GPUS] {
        let [plain, half] = modes.map(|mode| run(&estimate, mode, (batch, steps), gpus));
        line(format!("{steps} steps on {gpus} H100: {plain} in f32, {half} in bf16"))?;
    }
    line(format!(
        "({GPUS}: had the images been shared out, with {EXCHANGE:.0e} s a small exchange; this version computes on one GPU)"
    ))?;
    let bytes = estimate.views() * batch * estimate.image * modes[1].size();
    let feed = |total: f64| batch / total;
    line(format!(
        "\nto feed one GPU: {:.0} images/s in f32, {:.0} in bf16; uploads take {:.1} % of bf16's time over PCIe 5",
        feed(totals[0]),
        feed(totals[1]),
        100.0 * bytes / PCIE / totals[1]
    ))?;
    if size == 224 {
        let cores = totals.map(|total| (feed(total) / LOADER).ceil());
        line(format!("cores for that, at {LOADER} images/s each: {} in f32, {} in bf16", cores[0], cores[1]))?;
    }
    Ok(out)
}

/// How long a run takes on so many GPUs, in words: the way of a step is the cheapest whose memory is there.
fn run(estimate: &Estimate<'_>, mode: Mode, (batch, steps): (f64, f64), gpus: usize) -> String {
    let own = batch / gpus as f64;
    let kept = Mode { recompute: false, ..mode };
    let again = Mode { recompute: true, ..mode };
    let (how, step) = if estimate.memory(kept, own, None) <= MEMORY {
        ("", seconds(&estimate.step(kept, own, 0.0)))
    } else if estimate.memory(again, own, None) <= MEMORY {
        (" with recompute", seconds(&estimate.step(again, own, 0.0)))
    } else {
        // Each chunk runs forward twice; that is cheaper than blocks that do.
        (" in chunks", seconds(&estimate.step(kept, own, 1.0)))
    };
    let norms = estimate.outline.ops().filter(|op| matches!(op, Op::Norm { .. })).count() as f64;
    let (n, exchanged) = (gpus as f64, 4.0 * estimate.parameters);
    let exchange = if gpus > 1 { 2.0 * (n - 1.0) / n * exchanged / NVLINK + 2.0 * norms * EXCHANGE } else { 0.0 };
    let days = steps * (step + exchange) / DAY;
    let share =
        if gpus > 1 { format!(" ({:.0} % exchange)", 100.0 * exchange / (step + exchange)) } else { String::new() };
    format!("{days:.2} days{how}{share}")
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

    /// Checks what the numbers must obey, whatever the constants are.
    #[test]
    fn costs_follow_sizes() {
        let config = config(50, 256);
        let model = SimClr::blank(&ModelSpec::new(&config.model, 3, 224, 0, 0)).unwrap();
        let outline = model.outline(224).unwrap();
        let parameters = model.store.count(|_| true) as f64;
        let objective = NtXent::new(0.1);
        let e = Estimate { outline: &outline, objective: &objective, parameters, dim: 128.0, image: 150_528.0 };
        let mode = |dtype, recompute| Mode { dtype, recompute };
        let (f32, bf16) = (mode(Dtype::F32, false), mode(Dtype::Bf16, false));
        let time = |m, batch| seconds(&e.step(m, batch, 0.0));
        assert!(time(bf16, 256.0) < time(f32, 256.0) && time(f32, 256.0) < time(mode(Dtype::F32, true), 256.0));
        // Three times the forward's 2 * 4.09 G operations a view are the least there is to do.
        let least = 3.0 * 2.0 * 4.08e9 * 512.0 / TF32;
        assert!(time(f32, 256.0) > least && time(f32, 256.0) < 10.0 * least);
        let again = e.fits(mode(Dtype::F32, true), None).unwrap();
        let (kept, half) = (e.fits(f32, None).unwrap(), e.fits(bf16, None).unwrap());
        assert!(kept < half && kept < again && half < 2 * kept + 50, "{kept} {half} {again}");
        assert!(e.memory(f32, kept as f64, None) <= MEMORY && e.memory(f32, kept as f64 + 1.0, None) > MEMORY);
        assert!(e.fits(f32, Some(4096.0)).unwrap() < kept);
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
        let config = config(50, 256);
        let model = SimClr::blank(&ModelSpec::new(&config.model, 3, 224, 0, 0)).unwrap();
        let outline = model.outline(224).unwrap();
        let mode = Mode { dtype: Dtype::F32, recompute: false };
        let [once, twice]: [Box<dyn Objective>; 2] = [Box::new(NtXent::new(0.1)), Box::new(Twice(NtXent::new(0.1)))];
        let [once, twice] = [&once, &twice].map(|objective| {
            let e =
                Estimate { outline: &outline, objective: objective.as_ref(), parameters: 1e6, dim: 128.0, image: 1e5 };
            (e.step(mode, 64.0, 0.0), e.step(mode, 64.0, 1.0), e.memory(mode, 64.0, None))
        });
        assert_eq!(seconds(&twice.0), seconds(&once.1), "another forward of all views");
        assert_eq!(twice.2, once.2 + 1e9);
    }

    #[test]
    fn the_page_names_network_and_bottleneck() {
        let text = estimate(&config(50, 4096), 1_281_167, 3).unwrap();
        for part in ["4.1", "largest batch in 80 GB", "the bottleneck: ", "100 steps on 8 H100"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
