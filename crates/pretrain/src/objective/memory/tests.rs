//! The memory against its definition, written out in f64; its state; its settings.
#![allow(clippy::unwrap_used)]

use super::{Memory, Queue};
use crate::objective::tests::{experiment, traces, train_in};
use crate::objective::{Given, Objective, Views, check, choose};
use anyhow::Result;
use candle_core::{Device, Tensor};
use simclr_core::config::{Config, Named};
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::states;
use simclr_model::{Mode, ModelSpec, Pass, SimClr};
use simclr_ops::{Group, Tape, Value, optim};
use simclr_stage::Setup;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

const IMAGES: usize = 4;
const SIDE: usize = 8;

fn chosen(settings: &str) -> Named {
    let table: BTreeMap<String, Named> = toml::from_str(&format!("k = {{ name = \"memory\", {settings} }}")).unwrap();
    table["k"].clone()
}

fn with(settings: &str) -> Config {
    let mut config = experiment();
    config.pretrain.loss = chosen(settings);
    config.pretrain.temperature = 0.2;
    config
}

fn network(config: &Config) -> SimClr {
    SimClr::new(&ModelSpec::new(&config.model, 3, SIDE, 0, 0), 3).unwrap()
}

fn memory(config: &Config, model: &SimClr) -> Result<Memory> {
    Memory::of(&Given { config: &config.pretrain, model, seed: 0, steps: 10 })
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn units(t: &Tensor) -> Vec<Vec<f64>> {
    let rows = flat(t);
    let unit = |row: &[f64]| {
        let length = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        row.iter().map(|v| v / length).collect()
    };
    rows.chunks(t.dims()[1]).map(unit).collect()
}

/// The mean over all views of the cross entropy of cosines over the temperature.
fn definition(queries: &[Vec<f64>], keys: &[Vec<f64>], queue: &VecDeque<Vec<f64>>, temperature: f64) -> f64 {
    let n = keys.len() / 2;
    let mut sum = 0.0;
    for (i, query) in queries.iter().enumerate() {
        let logit = |key: &Vec<f64>| query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() / temperature;
        let mut all = 0.0;
        for (j, key) in keys.iter().enumerate() {
            if j != i {
                all += libm::exp(logit(key));
            }
        }
        for key in queue {
            all += libm::exp(logit(key));
        }
        let other = if i < n { i + n } else { i - n };
        sum += libm::log(all) - logit(&keys[other]);
    }
    sum / queries.len() as f64
}

/// Some steps with the objective, beside the same written out: losses, the momentum network, the queue from the oldest key to
/// the newest.
fn steps_as_defined(size: usize, decay: f64, chunk: Option<usize>) {
    let what = format!("size {size}, decay {decay}, chunk {chunk:?}");
    let config = with(&format!("size = {size}, decay = {decay}"));
    let model = network(&config);
    let mut objective = memory(&config, &model).unwrap();
    let follower = model.twin().unwrap();
    let mut queue: VecDeque<Vec<f64>> = VecDeque::new();
    let mut rng = Rng::stream(1, Purpose::Test, &[]);
    for step in 0..7 {
        let pixels: Vec<f32> = (0..2 * IMAGES * SIDE * SIDE * 3).map(|_| rng.below(256) as f32 / 255.0).collect();
        let images = Value::constant(Tensor::from_vec(pixels, (2 * IMAGES, SIDE, SIDE, 3), &Device::Cpu).unwrap());
        let projected = |network: &SimClr| {
            let tape = Tape::inference();
            let pass = Pass::new(&tape, &network.store, Mode::Train);
            units(network.project(&pass, &images, chunk).unwrap().1.tensor())
        };
        // The trained network's running statistics move twice so, which nothing reads.
        let (queries, keys) = (projected(&model), projected(&follower));
        let want = definition(&queries, &keys, &queue, 0.2);
        let tape = Tape::new();
        let pass = Pass::new(&tape, &model.store, Mode::Train);
        let learned = objective.loss(&Views { model: &model, pass: &pass, images: &images, chunk }).unwrap();
        drop(pass);
        let found = f64::from(learned.loss.tensor().to_scalar::<f32>().unwrap());
        assert!((found - want).abs() < 1e-5 * want, "{what}, step {step}: {found} for {want}");
        let guessing = libm::log((2 * IMAGES - 1 + queue.len()) as f64);
        assert_eq!(objective.guessing(), Some(guessing), "{what}, step {step}");
        let gradients = tape.backward(&learned.loss).unwrap();
        for p in model.store.trainable() {
            let gradient = gradients.get(&p.tensor).unwrap();
            optim::assign(&p.tensor, &(&p.tensor - (gradient * 0.1).unwrap()).unwrap()).unwrap();
        }
        objective.after_step(&model, step).unwrap();
        for (own, trained) in follower.store.trainable().zip(model.store.trainable()) {
            let (old, new) = (flat(&own.tensor), flat(&trained.tensor));
            let moved = old.iter().zip(new).map(|(old, new)| (decay * old + (1.0 - decay) * new) as f32);
            let moved: Vec<f32> = moved.collect();
            optim::assign(&own.tensor, &Tensor::from_vec(moved, own.tensor.dims(), &Device::Cpu).unwrap()).unwrap();
        }
        queue.extend(keys);
        while queue.len() > size {
            queue.pop_front();
        }
        let momentum = objective.momentum.as_ref().unwrap();
        for (found, want) in momentum.store.trainable().zip(follower.store.trainable()) {
            let apart = flat(&found.tensor)
                .iter()
                .zip(flat(&want.tensor))
                .fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
            assert!(apart < 1e-5, "{what}, step {step}: {} is {apart} off", found.name);
            // A rounding would grow: batch norm of few numbers is steep.
            optim::assign(&want.tensor, &found.tensor).unwrap();
        }
        let found = in_order(&objective.queue);
        assert_eq!(found.len(), queue.len(), "{what}, step {step}");
        for (i, (found, want)) in found.iter().zip(&queue).enumerate() {
            let apart = found.iter().zip(want).fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
            assert!(apart < 1e-4, "{what}, step {step}: key {i} from the oldest on is {apart} off");
        }
    }
}

/// The keys of a queue, the oldest first.
fn in_order(queue: &Queue) -> Vec<Vec<f64>> {
    let Some(keys) = queue.keys().unwrap() else { return Vec::new() };
    let mut rows: Vec<Vec<f64>> = flat(&keys).chunks(keys.dims()[1]).map(<[f64]>::to_vec).collect();
    if rows.len() == queue.size() {
        let place = queue.state().unwrap()["queue_place"].to_vec1::<u32>().unwrap();
        rows.rotate_left(place[0] as usize);
    }
    rows
}

#[test]
fn steps_are_what_the_definition_says() {
    // Eight keys a step: they fill the queue after two steps; after three and a part; never; at once; no queue.
    for size in [16, 30, 100, 5, 8, 0] {
        steps_as_defined(size, 0.9, None);
    }
    for decay in [0.0, 0.5, 1.0] {
        steps_as_defined(20, decay, None);
    }
    for chunk in [1, 3, IMAGES] {
        steps_as_defined(20, 0.9, Some(chunk));
    }
}

/// A pretraining in `out`, on from what is there, which stops as if killed after `stop` steps.
fn pretrain(out: &Path, config: &Config, stop: Option<u64>) -> Result<()> {
    let setup = Setup::open(config, &Device::Cpu, config.seed, |_| Ok(())).unwrap();
    let mut plan = crate::plan(config, setup, None).unwrap();
    train_in(out, config, &Group::default(), &mut plan, stop)
}

#[test]
fn a_run_resumes_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let config = with("size = 20, decay = 0.9");
    let at = |name: &str| dir.path().join(name);
    pretrain(&at("straight"), &config, None).unwrap();
    // Stopped between two saved states, before the queue is full and after it has come round.
    for stop in [Some(1), Some(3), Some(5), None] {
        pretrain(&at("pieces"), &config, stop).unwrap();
    }
    let (straight, pieces) = (traces(&at("straight")), traces(&at("pieces")));
    assert_eq!(straight.2, pieces.2, "what is logged");
    assert!(straight.0 == pieces.0 && straight.1 == pieces.1, "weights or state");
    let state = &straight.1;
    assert!(state["task/objective/momentum/conv1.weight"] != state["model/conv1.weight"]);
    assert!(state["task/objective/momentum/bn1.running_mean"] != state["model/bn1.running_mean"], "of its own batches");
    let handed_on = candle_core::safetensors::load(at("straight").join("checkpoint/model.safetensors"), &Device::Cpu);
    assert!(handed_on.unwrap().keys().all(|name| !name.contains("momentum") && !name.contains("queue")));

    // Another queue: one message, before a step is done.
    let longer = with("size = 21, decay = 0.9");
    pretrain(&at("other"), &config, Some(3)).unwrap();
    let told = format!("{:#}", pretrain(&at("other"), &longer, None).unwrap_err());
    assert!(told.contains("pretrain.loss: the queue of the state: it has the shape [20, 8]"), "{told}");
    assert!(told.contains("[21, 8]") && told.contains("set size"), "{told}");
    let newest = states::names(&at("other")).unwrap();
    assert!(newest[0].contains('2'), "{newest:?}");
}

#[test]
fn a_state_that_does_not_fit_is_refused() {
    let config = with("size = 4");
    let model = network(&config);
    let mut objective = memory(&config, &model).unwrap();
    let told = |objective: &mut Memory, state: &BTreeMap<String, Tensor>| {
        format!("{:#}", objective.restore(state).unwrap_err())
    };
    assert!(told(&mut objective, &BTreeMap::new()).contains("the momentum network of the state: "));
    objective.momentum = Some(model.twin().unwrap());
    let whole = objective.state().unwrap();
    objective.restore(&whole).unwrap();
    let changed = |name: &str, with: Option<Tensor>| {
        let mut state = whole.clone();
        state.remove(name);
        state.extend(with.map(|with| (name.to_string(), with)));
        state
    };
    let place = |numbers: &[u32]| Some(Tensor::new(numbers, &Device::Cpu).unwrap());
    for (state, why) in [
        (changed("queue", None), "it has the shape [0]"),
        (changed("queue_place", None), "does not say where the next key enters"),
        (changed("queue_place", place(&[4, 4])), "no place 4 with 4 keys"),
        (changed("queue_place", place(&[1, 3])), "no place 1 with 3 keys"),
        (changed("momentum/conv1.weight", place(&[1])), "conv1.weight is [1]"),
        (changed("momentum/conv1.weight", None), "missing: conv1.weight"),
    ] {
        let told = told(&mut objective, &state);
        assert!(told.contains(why) && !told.contains('\n'), "{told}");
    }
}

#[test]
fn settings_are_checked() {
    let message = |settings: &str| check(&chosen(settings)).unwrap_err().to_string();
    for (settings, why) in [
        ("decay = 1.001", "pretrain.loss.decay = 1.001: must lie in 0 to 1"),
        ("decay = -0.1", "pretrain.loss.decay = -0.1: must lie in 0 to 1"),
        ("decay = nan", "pretrain.loss.decay"),
        ("size = -1", "pretrain.loss.size"),
        ("size = 4194305", "pretrain.loss.size = 4194305: must lie in 0 to 4194304"),
        ("queue = 3", "unknown key pretrain.loss.queue"),
    ] {
        let told = message(settings);
        assert!(told.contains(why) && !told.contains('\n'), "{settings}: {told}");
    }
    check(&Named::new("memory")).unwrap();
    let mut config = with("size = 4194304");
    config.model.proj_dim = 4096;
    let told = memory(&config, &network(&config)).err().unwrap().to_string();
    assert!(told.contains("pretrain.loss.size = 4194304: with projections of 4096 numbers"), "{told}");
    config = with("size = 64");
    config.pretrain.training.chunk = Some(4);
    let model = network(&config);
    choose(&Given { config: &config.pretrain, model: &model, seed: 0, steps: 1 }).unwrap();
}

/// An estimate knows of the second network and of the queue, which each GPU has whole, and makes neither network.
#[test]
fn costs_are_told() {
    let cost = |size: usize| {
        let config = with(&format!("size = {size}"));
        let model = network(&config);
        let objective = memory(&config, &model).unwrap();
        assert!(objective.momentum.is_none());
        (objective.cost(32.0, 8.0), model.store.iter().map(|p| p.tensor.elem_count()).sum::<usize>() as f64)
    };
    let ((none, numbers), (some, _)) = (cost(0), cost(1000));
    assert_eq!((none.forwards, none.summed, none.kept), (1.0, 0.0, 4.0 * numbers));
    assert_eq!(some.kept - none.kept, 4.0 * 1000.0 * 8.0);
    assert_eq!(some.operations - none.operations, 4.0 * 64.0 * 1000.0 * 8.0);
    assert_eq!(some.held - none.held, 4.0 * 64.0 * 1000.0);
}
