//! Labelling, simulated: rounds of labels that the tool chooses beside rounds of random ones, on pictures whose labels are all
//! known. After each round a linear classifier on the frozen features of pretraining is measured.
//!
//! ```sh
//! cargo run -p simclr-eval --example labelling -- runs/fashion truth.csv
//! ```

use anyhow::{Context, Result};
use clap::Parser;
use simclr_core::cli::{DeviceChoice, compute_with, init_log};
use simclr_core::config::Config;
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::layout;
use simclr_core::stages::PRETRAIN;
use simclr_data::Pictures;
use simclr_eval::review::label::{Pool, doubt};
use simclr_model::SimClr;
use simclr_ops::Group;
use simclr_stage::{Checkpoint, EvalSet};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Parser)]
struct Args {
    /// A run that `cargo xtask reproduce --images DIR` made, with pictures to measure on
    run: PathBuf,
    /// A table with the label of every picture
    truth: PathBuf,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Labels of each
    #[arg(long, default_value_t = 20)]
    labels: usize,
    /// Repetitions, whose mean is told
    #[arg(long, default_value_t = 3)]
    seeds: u64,
}

/// Features `[N, D]` and a label each.
struct Set {
    rows: Vec<f32>,
    labels: Vec<u32>,
    dim: usize,
}

impl Set {
    fn of(config: &Config, pictures: Pictures, model: &SimClr) -> Result<Self> {
        let (rows, seen) = EvalSet::new(config, Arc::new(pictures), &Group::default()).features(model, 0)?;
        Ok(Self { dim: rows.len() / seen.labels.len(), rows, labels: seen.labels })
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.rows[i * self.dim..][..self.dim]
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    init_log();
    compute_with(None)?;
    let truth = std::path::absolute(&args.truth).context("the table of labels")?;
    let config = Config::load(&args.run.join(layout::OWN_EXPERIMENT), &[format!("data.labels={}", truth.display())])?;
    let data = simclr_data::load(&config.data)?;
    data.expect_labels("the simulation")?;
    let classes = data.classes.len();
    let model = Checkpoint::load(&args.run.join(PRETRAIN))?.model()?.on(&DeviceChoice::Cpu.open()?)?;
    let (pool, test) = (Set::of(&config, data.train, &model)?, Set::of(&config, data.test, &model)?);
    let mut means = [vec![0.0; args.rounds], vec![0.0; args.rounds]];
    for seed in 0..args.seeds {
        for (way, means) in means.iter_mut().enumerate() {
            let accuracies = simulate(&args, (&pool, &test, classes), way == 0, seed)?;
            means.iter_mut().zip(&accuracies).for_each(|(mean, a)| *mean += a / args.seeds as f64);
            let shown: Vec<String> = accuracies.iter().map(|a| format!("{:.1}", 100.0 * a)).collect();
            simclr_core::cli::say(format_args!(
                "seed {seed}, {} {}",
                if way == 0 { "chosen" } else { "random" },
                shown.join("  ")
            ));
        }
    }
    simclr_core::cli::say(format_args!("\nlabels  chosen  random"));
    for round in 0..args.rounds {
        let [chosen, random] = [&means[0], &means[1]].map(|mean| 100.0 * mean[round]);
        simclr_core::cli::say(format_args!("{:>6}  {chosen:>6.2}  {random:>6.2}", (round + 1) * args.labels));
    }
    Ok(())
}

/// Accuracy on the test pictures after each round.
fn simulate(args: &Args, (pool, test, classes): (&Set, &Set, usize), chooses: bool, seed: u64) -> Result<Vec<f64>> {
    let mut open: Vec<usize> = (0..pool.labels.len()).collect();
    let mut known: Vec<usize> = Vec::new();
    let mut classifier: Option<Linear> = None;
    let mut accuracies = Vec::new();
    for round in 0..args.rounds as u64 {
        let places = if chooses {
            let doubts = |i: &usize| classifier.as_ref().map_or(1.0, |c| doubt(&c.probabilities(pool.row(*i))));
            let rows = |of: &[usize]| of.iter().flat_map(|i| pool.row(*i).to_vec()).collect::<Vec<f32>>();
            let doubts: Vec<f32> = open.iter().map(doubts).collect();
            let (features, labeled) = (rows(&open), rows(&known));
            let choice = Pool { features: &features, dim: pool.dim, doubt: &doubts, labeled: &labeled, classes };
            choice.next_to_label(args.labels, seed)?
        } else {
            let mut order: Vec<usize> = (0..open.len()).collect();
            Rng::stream(seed, Purpose::LabelSubset, &[round]).shuffle(&mut order);
            order.truncate(args.labels);
            order
        };
        known.extend(places.iter().map(|place| open[*place]));
        open.retain(|i| !known.contains(i));
        let trained = Linear::train(pool, &known, classes);
        let right = (0..test.labels.len()).filter(|i| trained.class(test.row(*i)) == test.labels[*i] as usize).count();
        accuracies.push(right as f64 / test.labels.len() as f64);
        classifier = Some(trained);
    }
    Ok(accuracies)
}

/// A linear classifier of features scaled to mean 0 and deviation 1 over the pool.
struct Linear {
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// `[classes, D + 1]`, the bias last.
    weights: Vec<Vec<f64>>,
}

impl Linear {
    /// Gradient descent with momentum on the cross entropy and a little weight decay.
    fn train(pool: &Set, known: &[usize], classes: usize) -> Self {
        let (n, dim) = (pool.labels.len() as f64, pool.dim);
        let (mut mean, mut scale) = (vec![0.0; dim], vec![0.0; dim]);
        pool.rows.chunks(dim).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / n));
        for row in pool.rows.chunks(dim) {
            scale.iter_mut().zip(row).zip(&mean).for_each(|((s, v), m)| *s += (f64::from(*v) - m).powi(2) / n);
        }
        scale.iter_mut().for_each(|s| *s = 1.0 / (*s + 1e-8).sqrt());
        let mut own = Self { mean, scale, weights: vec![vec![0.0; dim + 1]; classes] };
        let rows: Vec<Vec<f64>> = known.iter().map(|i| own.scaled(pool.row(*i))).collect();
        let mut speed = own.weights.clone();
        for _ in 0..300 {
            let mut slope: Vec<Vec<f64>> = own.weights.iter().map(|w| w.iter().map(|v| 1e-2 * v).collect()).collect();
            for (row, i) in rows.iter().zip(known) {
                let p = own.softmax(row);
                for (class, slope) in slope.iter_mut().enumerate() {
                    let error = p[class] - f64::from(u8::from(class == pool.labels[*i] as usize));
                    slope.iter_mut().zip(row).for_each(|(s, v)| *s += error * v / rows.len() as f64);
                }
            }
            for ((weights, speed), slope) in own.weights.iter_mut().zip(&mut speed).zip(&slope) {
                for ((w, v), s) in weights.iter_mut().zip(speed).zip(slope) {
                    *v = 0.9 * *v - 0.05 * s;
                    *w += *v;
                }
            }
        }
        own
    }

    fn scaled(&self, row: &[f32]) -> Vec<f64> {
        let scaled = row.iter().zip(&self.mean).zip(&self.scale).map(|((v, m), s)| (f64::from(*v) - m) * s);
        scaled.chain([1.0]).collect()
    }

    fn softmax(&self, row: &[f64]) -> Vec<f64> {
        let logits: Vec<f64> = self.weights.iter().map(|w| w.iter().zip(row).map(|(w, v)| w * v).sum()).collect();
        let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let odds: Vec<f64> = logits.iter().map(|l| libm::exp(l - most)).collect();
        let sum: f64 = odds.iter().sum();
        odds.into_iter().map(|o| o / sum).collect()
    }

    fn probabilities(&self, row: &[f32]) -> Vec<f64> {
        self.softmax(&self.scaled(row))
    }

    fn class(&self, row: &[f32]) -> usize {
        let p = self.probabilities(row);
        (0..p.len()).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap_or_default()
    }
}
