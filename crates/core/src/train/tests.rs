//! A tiny regression, trained straight, in pieces, and on several threads.
#![allow(clippy::unwrap_used)]

use super::step::advance;
use super::trainer::train_by;
use super::{ACCURACY, BatchFn, Loss, Metric, Outcome, Task, TrainOptions, train};
use crate::cli::ProgressMode;
use crate::config::{Duration, OptimizerConfig, Scaling, TrainingConfig};
use crate::params::{Kind, ParamStore, Part};
use crate::rng::{Purpose, Rng};
use crate::run::states::{self, State};
use crate::run::{Extend, Opened, Run, RunOptions, layout};
use crate::testing::assert_close;
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde_json::{Value as Json, json};
use simclr_ops::{Group, Tape, engines};
use std::path::Path;
use std::sync::Arc;

/// `y = x W^T` against fixed targets; a statistic follows the mean of x, a spare layer gets no gradient.
pub(super) struct Regression {
    store: ParamStore,
    poisoned: Option<u64>,
    /// The accuracy after each step.
    pub(super) grades: Option<Vec<f64>>,
    /// Which steps were followed up, with the first weight that each left.
    followed: Vec<(u64, f32)>,
}

const ROWS: usize = 6;
const IN: usize = 5;
const OUT: usize = 3;

fn random(path: &[u64], shape: &[usize]) -> Tensor {
    let mut rng = Rng::stream(3, Purpose::Test, path);
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

impl Regression {
    pub(super) fn new() -> Self {
        let mut store = ParamStore::new(Device::Cpu);
        store.add("fc.weight", Kind::Classifier, Part::Classifier, random(&[1], &[OUT, IN])).unwrap();
        store.add("bn.weight", Kind::BatchNorm, Part::Stem, random(&[2], &[OUT])).unwrap();
        store.add("spare.weight", Kind::Linear, Part::Other, random(&[3], &[2, 2])).unwrap();
        store.add("spare.bias", Kind::Bias, Part::Other, random(&[5], &[2])).unwrap();
        store.add("steps", Kind::Statistic, Part::Other, Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap()).unwrap();
        store.add("running_mean", Kind::Statistic, Part::Stem, random(&[4], &[1])).unwrap();
        Self { store, poisoned: None, grades: None, followed: Vec::new() }
    }

    fn numbers(&self, name: &str) -> Vec<f32> {
        self.store.by_name(name).unwrap().tensor.flatten_all().unwrap().to_vec1().unwrap()
    }
}

impl Task for Regression {
    type Batch = Tensor;

    fn store(&self) -> &ParamStore {
        &self.store
    }

    fn batches(&self) -> BatchFn<Tensor> {
        let poisoned = self.poisoned;
        Arc::new(move |step| {
            let x = random(&[9, step], &[ROWS, IN]);
            Ok(if poisoned == Some(step) { (x * f64::NAN)? } else { x })
        })
    }

    fn loss(&mut self, tape: &Tape, x: Tensor) -> Result<Loss> {
        let weight = tape.leaf(&self.store.by_name("fc.weight").unwrap().tensor);
        let gamma = tape.leaf(&self.store.by_name("bn.weight").unwrap().tensor);
        let (w, g) = (weight.tensor().clone(), gamma.tensor().clone());
        let y = x.matmul(&w.t()?)?;
        let error = (y.broadcast_mul(&g)? - 1.0)?;
        let value = error.sqr()?.mean_all()?;
        let input_mean = x.mean_all()?;
        let mean = input_mean.to_scalar::<f32>()?;
        simclr_ops::tensor::update(&self.store.by_name("running_mean").unwrap().tensor, |m| {
            m[0] = 0.9 * m[0] + 0.1 * mean
        })?;
        let (wn, gn, x) = (weight.node(), gamma.node(), x.clone());
        let value = tape.record(&[&weight, &gamma], value, move |_, grads| {
            let error = (error * (2.0 / (ROWS * OUT) as f64))?;
            // Not contiguous on purpose.
            grads.add(wn, x.t()?.matmul(&error.broadcast_mul(&g)?)?.t()?)?;
            grads.add(gn, (error * y)?.sum(0)?)
        });
        Ok(Loss { value, beside: None, metrics: vec![Metric::of_all("input_mean", input_mean)] })
    }

    fn after_step(&mut self, step: u64) -> Result<()> {
        simclr_ops::tensor::update(&self.store.by_name("steps").unwrap().tensor, |n| n[0] += 1.0)?;
        self.followed.push((step, self.numbers("fc.weight")[0]));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let figure = self.numbers("fc.weight")[0] as f64;
        let Some(grades) = &self.grades else { return Ok(vec![("figure", figure)]) };
        // What follows from the weights alone, as accuracy does: how many steps moved them.
        let step = self.numbers("steps")[0] as usize;
        Ok(vec![("figure", figure), (ACCURACY, grades[step - 1])])
    }

    /// A last change that training must not go on with.
    fn finish(&mut self) -> Result<()> {
        Ok(simclr_ops::tensor::update(&self.store.by_name("spare.bias").unwrap().tensor, |b| b.fill(7.0))?)
    }

    fn model_config(&self) -> Json {
        json!({"kind": "regression"})
    }
}

pub(super) fn training(optimizer: OptimizerConfig) -> TrainingConfig {
    let mut training = crate::run::folder_tests::config().pretrain.training;
    training.optimizer = optimizer;
    training.length = Duration::Steps(10);
    training.warmup = Duration::Steps(2);
    training.weight_decay = 0.01;
    training.eval_every = Some(Duration::Steps(5));
    training.checkpoint_every = Some(Duration::Steps(3));
    training
}

/// Opens the run of this table, and trains; `extend` asks for one that is finished to go on.
pub(super) fn opened(out: &Path, training: &TrainingConfig, extend: bool) -> Result<Opened> {
    let (config, identity) = (crate::run::folder_tests::config(), json!({"pretrain": {"training": training}}));
    let steps = |examples: usize| super::Schedule::new(training, examples).total;
    let extend = extend.then_some(Extend { steps: &steps });
    let (inputs, extra) = (vec![], serde_json::Map::new());
    Run::open(RunOptions {
        out,
        stage: "pretrain",
        config: &config,
        identity,
        inputs,
        extra,
        resume: true,
        extend,
        group: &Group::default(),
    })
}

pub(super) fn go_on(
    run: &mut Run,
    task: &mut Regression,
    training: &TrainingConfig,
    stop_after: Option<u64>,
) -> Result<Outcome> {
    let (progress, title) = (ProgressMode::Off, "test".into());
    let group = &Group::default();
    train(task, &TrainOptions { training, examples: 60, prefetch: 2, progress, title, group, stop_after }, run)
}

pub(super) fn go(
    task: &mut Regression,
    out: &Path,
    training: &TrainingConfig,
    stop_after: Option<u64>,
) -> Result<Outcome> {
    let (Opened::Fresh(mut run) | Opened::Resume(mut run)) = opened(out, training, false)? else {
        panic!("done already")
    };
    go_on(&mut run, task, training, stop_after)
}

/// All lines of metrics.jsonl without the speed, which no two runs share.
pub(super) fn metrics(out: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let strip = |line: &str| {
        let mut value: Json = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("images_per_s");
        value
    };
    text.lines().map(strip).collect()
}

#[test]
fn a_resumed_run_and_any_number_of_threads_give_the_same_bytes() {
    for kind in [OptimizerConfig::lars(), OptimizerConfig::sgd(), OptimizerConfig::adam()] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let training = training(kind.clone());
        let outcome = go(&mut Regression::new(), &at("straight"), &training, None).unwrap();
        assert_eq!(outcome.steps, 10);
        go(&mut Regression::new(), &at("pieces"), &training, Some(4)).unwrap();
        assert!(!at("pieces").join("checkpoint").exists());
        assert_eq!(metrics(&at("pieces")).len(), 4);
        go(&mut Regression::new(), &at("pieces"), &training, Some(9)).unwrap();
        let resumed = go(&mut Regression::new(), &at("pieces"), &training, None).unwrap();
        assert_eq!((resumed.steps, resumed.metrics), (10, outcome.metrics.clone()));
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let out = at(&format!("threads{threads}"));
            pool.install(|| go(&mut Regression::new(), &out, &training, None).unwrap());
        }
        let bytes = |name: &str| std::fs::read(at(name).join("checkpoint").join(layout::MODEL)).unwrap();
        for other in ["pieces", "threads1", "threads2"] {
            assert!(bytes("straight") == bytes(other), "{kind:?}: {other} differs");
            assert_eq!(metrics(&at("straight")), metrics(&at(other)), "{kind:?}: {other}");
        }
        // Killed after the last state and before the result: nothing is logged twice.
        let again = go(&mut Regression::new(), &at("straight"), &training, None).unwrap();
        assert_eq!((again.steps, again.metrics), (10, outcome.metrics));
        assert_eq!(metrics(&at("straight")), metrics(&at("pieces")));
    }
}

#[test]
fn a_damaged_state_is_passed_over_and_the_bits_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let training = training(OptimizerConfig::lars());
    go(&mut Regression::new(), &at("whole"), &training, None).unwrap();
    go(&mut Regression::new(), &at("damaged"), &training, Some(7)).unwrap();
    let newest = at("damaged").join(layout::state_after(6));
    let mut bytes = std::fs::read(&newest).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
    go(&mut Regression::new(), &at("damaged"), &training, None).unwrap();
    let model = |name: &str| std::fs::read(at(name).join(layout::CHECKPOINT).join(layout::MODEL)).unwrap();
    assert!(model("damaged") == model("whole"));
    assert_eq!(metrics(&at("damaged")), metrics(&at("whole")), "no line is doubled, none is missing");
    assert!(newest.with_extension("damaged").exists(), "what was damaged is kept aside");
}

/// What a GPU computed with goes with the state, and comes back from it before the run goes on.
#[test]
fn a_resumed_run_knows_the_engines_that_it_began_with() {
    let dir = tempfile::tempdir().unwrap();
    let training = training(OptimizerConfig::sgd());
    engines::import("no GPU: a convolution of this test = graph 5 2:1\n").unwrap();
    go(&mut Regression::new(), dir.path(), &training, Some(4)).unwrap();
    let State { step, tensors, facts: mut state } = states::load(dir.path(), true).unwrap().unwrap();
    assert!(state["engines"].as_str().unwrap().contains("of this test = graph 5 2:1\n"), "{state}");
    // As another process would have left it.
    state["engines"] = json!("no GPU: another one of this test = legacy 1 0\n");
    states::save(dir.path(), step, 2, (&tensors, &state)).unwrap();
    go(&mut Regression::new(), dir.path(), &training, Some(5)).unwrap();
    assert!(engines::export().contains("another one of this test = legacy 1 0\n"), "{}", engines::export());
    state["engines"] = json!("gibberish");
    states::save(dir.path(), step, 2, (&tensors, &state)).unwrap();
    let refused = format!("{:#}", go(&mut Regression::new(), dir.path(), &training, None).unwrap_err());
    assert!(refused.contains("resuming") && refused.contains("gibberish"), "{refused}");
}

/// Each step is followed up once, with the weights that its optimiser left: those that the next step begins with.
#[test]
fn every_step_is_followed_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut task = Regression::new();
    let before = task.numbers("fc.weight")[0];
    go(&mut task, dir.path(), &training(OptimizerConfig::sgd()), None).unwrap();
    let (steps, weights): (Vec<u64>, Vec<f32>) = task.followed.iter().copied().unzip();
    assert_eq!(steps, (0..10).collect::<Vec<u64>>());
    // The learning rate of step 0 of a warm-up is 0.
    assert!(weights[0] == before && weights[1] != before, "{weights:?}");
    assert_eq!(weights[9], task.numbers("fc.weight")[0]);
}

#[test]
fn decay_reaches_what_the_reference_decays() {
    let moved = |kind: OptimizerConfig, decay| {
        let dir = tempfile::tempdir().unwrap();
        let mut training = training(kind.clone());
        training.weight_decay = decay;
        let mut task = Regression::new();
        go(&mut task, dir.path(), &training, None).unwrap();
        let first = metrics(dir.path())[0].clone();
        let spare = task.numbers("spare.weight") != Regression::new().numbers("spare.weight");
        (spare, first["weight_decay"].as_f64().unwrap(), first["grad_norm"].as_f64().unwrap())
    };
    let half = |names: &[&str]| -> f64 {
        let task = Regression::new();
        names.iter().flat_map(|n| task.numbers(n)).map(|v| 0.005 * (v as f64).powi(2)).sum()
    };
    let (spare, decay, _) = moved(OptimizerConfig::lars(), 0.01);
    assert!(!spare && (decay - half(&["fc.weight"])).abs() < 1e-9);
    let (spare, decay, norm) = moved(OptimizerConfig::sgd(), 0.01);
    assert!(spare && (decay - half(&["fc.weight", "spare.weight", "spare.bias"])).abs() < 1e-9);
    let (spare, decay, bare) = moved(OptimizerConfig::sgd(), 0.0);
    assert!(!spare && decay == 0.0 && bare != norm, "the norm is that of all gradients, decay included");
}

#[test]
fn decay_alone_shrinks_a_weight_by_its_gradient() {
    let dir = tempfile::tempdir().unwrap();
    let mut training = training(OptimizerConfig::sgd());
    (training.warmup, training.learning_rate, training.weight_decay) = (Duration::Steps(0), 0.5, 0.1);
    (training.scaling, training.momentum) = (Scaling::None, 0.9);
    let mut task = Regression::new();
    go(&mut task, dir.path(), &training, Some(1)).unwrap();
    // Nesterov's first step goes along (1 + momentum) of the gradient, which is weight_decay times the weight.
    for name in ["spare.weight", "spare.bias"] {
        let want: Vec<f32> = Regression::new().numbers(name).iter().map(|w| w * (1.0 - 0.5 * 1.9 * 0.1)).collect();
        assert_close(name, &task.numbers(name), &want, 1e-6);
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_and_keeps_the_last_state() {
    let dir = tempfile::tempdir().unwrap();
    let mut task = Regression::new();
    task.poisoned = Some(7);
    let message = format!("{:#}", go(&mut task, dir.path(), &training(OptimizerConfig::lars()), None).unwrap_err());
    for part in ["step 7 of 10", "NaN", "running_mean", "learning_rate", "saved state is that of step 6"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(dir.path().join(layout::state_after(6)).exists() && !dir.path().join("checkpoint").exists());
}

/// The last update is in no loss: what it did shows before anything is saved.
#[test]
fn a_last_step_that_goes_wild_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let mut training = training(OptimizerConfig::sgd());
    (training.length, training.warmup, training.learning_rate) = (Duration::Steps(1), Duration::Steps(0), 3e38);
    (training.weight_decay, training.scaling) = (0.0, Scaling::None);
    let message = format!("{:#}", go(&mut Regression::new(), dir.path(), &training, None).unwrap_err());
    for part in ["step 0 of 1 (learning rate 3.000e38)", "are not finite", "no state is saved", "weight"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(states::names(dir.path()).unwrap().is_empty() && !dir.path().join(layout::CHECKPOINT).exists());
}

/// A device that takes its time for each step, one after the other, while the host goes on: the speed is the device's, not
/// that of handing it work, and evaluations, which take as long as many steps here, are no part of it.
#[test]
fn images_a_second_are_those_of_a_device_that_the_host_does_not_wait_for() {
    struct Slow(Regression);
    impl Task for Slow {
        type Batch = Tensor;
        fn store(&self) -> &ParamStore {
            self.0.store()
        }
        fn batches(&self) -> BatchFn<Tensor> {
            self.0.batches()
        }
        fn loss(&mut self, tape: &Tape, x: Tensor) -> Result<Loss> {
            self.0.loss(tape, x)
        }
        fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>> {
            std::thread::sleep(10 * STEP);
            self.0.evaluate()
        }
        fn model_config(&self) -> Json {
            self.0.model_config()
        }
    }
    const STEP: std::time::Duration = std::time::Duration::from_millis(40);

    let dir = tempfile::tempdir().unwrap();
    let training = training(OptimizerConfig::sgd());
    let Opened::Fresh(mut run) = crate::run::folder_tests::open(dir.path(), 0.1, true).unwrap() else {
        panic!("a fresh folder")
    };
    let (progress, title) = (ProgressMode::Off, "test".into());
    let group = &Group::default();
    let options =
        TrainOptions { training: &training, examples: 60, prefetch: 2, progress, title, group, stop_after: None };
    let mut free_from = std::time::Instant::now();
    train_by(
        |task, batch, optimizer, by, at| {
            let launched = advance(task, batch, optimizer, by, at)?;
            free_from = free_from.max(std::time::Instant::now()) + STEP;
            Ok(launched.until(free_from))
        },
        &mut Slow(Regression::new()),
        &options,
        &mut run,
    )
    .unwrap();
    let text = std::fs::read_to_string(dir.path().join("metrics.jsonl")).unwrap();
    let speed = |line: &str| serde_json::from_str::<Json>(line).unwrap()["images_per_s"].as_f64();
    let speeds: Vec<f64> = text.lines().filter_map(speed).collect();
    assert_eq!(speeds.len(), 10, "{speeds:?}");
    // The steps after one another: a single one may be reported late, and the next then sooner after it.
    let steps = speeds.iter().map(|s| training.batch as f64 / s).sum::<f64>() / STEP.as_secs_f64();
    assert!(steps > 9.5, "ten steps took no longer than {steps}: {speeds:?}");
    assert!(steps < 22.0, "ten steps took as long as {steps}: evaluations are in it");
}

#[test]
fn it_learns() {
    let dir = tempfile::tempdir().unwrap();
    let mut training = training(OptimizerConfig::sgd());
    (training.length, training.learning_rate, training.weight_decay) = (Duration::Steps(200), 1.0, 0.0);
    go(&mut Regression::new(), dir.path(), &training, None).unwrap();
    let lines = metrics(dir.path());
    let loss = |line: &Json| line["loss"].as_f64();
    let (first, last) = (loss(&lines[0]).unwrap(), lines.iter().rev().find_map(loss).unwrap());
    assert!(last < 0.6 * first, "{first} -> {last}");
}
