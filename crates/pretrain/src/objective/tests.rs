//! A second objective: contrast against a queue of keys that a following encoder made (MoCo, He et al. 2020), without its
//! normalisation. It holds a network and a queue, moves after each step, and has both in the state of its run.
#![allow(clippy::unwrap_used)]

use super::{Cost, Given, Learned, NtXent, Objective, Views, choose};
use crate::Pretrain;
use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value as Json, json};
use simclr_core::cli::ProgressMode;
use simclr_core::config::{Config, Named};
use simclr_core::params::Match;
use simclr_core::rng::Purpose;
use simclr_core::run::{Opened, Run, RunOptions, states};
use simclr_core::testing::assert_close;
use simclr_core::train::{TrainOptions, train};
use simclr_data::{Loader, ViewMaker};
use simclr_model::{Mode, Pass, SimClr};
use simclr_ops::collective::threads;
use simclr_ops::{Group, Value, accuracy, cross_entropy, linear, optim, tensor};
use simclr_stage::{Plan, Setup};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

const KEYS: usize = 32;
const STEPS: u64 = 6;

struct Follower {
    encoder: SimClr,
    /// `[KEYS, P]`, filled round and round.
    queue: Tensor,
    next: usize,
    /// The steps that it was told of.
    told: Rc<RefCell<Vec<u64>>>,
    /// Whether it takes its state over.
    remembers: bool,
}

impl Follower {
    fn new(given: &Given<'_>, told: Rc<RefCell<Vec<u64>>>, remembers: bool) -> Self {
        let queue = Tensor::zeros((KEYS, given.model.spec.model.proj_dim), DType::F32, &Device::Cpu).unwrap();
        Self { encoder: given.model.twin().unwrap(), queue, next: 0, told, remembers }
    }

    /// What the head makes of `images`, and the features below it.
    fn project(pass: &Pass<'_>, model: &SimClr, images: &Tensor) -> Result<(Value, Value)> {
        let features = model.encoder.forward(pass, &Value::constant(images.clone()))?;
        Ok((model.projection.forward(pass, &features, -1)?, features))
    }
}

impl Objective for Follower {
    fn loss(&mut self, views: &Views<'_>) -> Result<Learned> {
        let images = views.images.tensor();
        let n = images.dim(0)? / 2;
        let (queries, features) = Self::project(views.pass, views.model, &images.narrow(0, 0, n)?)?;
        let tape = views.pass.tape;
        let silent = tape.silent();
        let pass = Pass::new(&silent, &self.encoder.store, Mode::Train);
        let keys = Self::project(&pass, &self.encoder, &images.narrow(0, n, n)?)?.0;
        let keys = tape.of_all_ranks(keys.tensor(), 1)?;
        let (all, keys): (usize, Vec<f32>) = (keys.dim(0)?, keys.flatten_all()?.to_vec1()?);
        tensor::update(&self.queue, |queue| {
            queue[self.next * keys.len() / all..][..keys.len()].copy_from_slice(&keys)
        })?;
        let before: usize = tape.images(n)?[..tape.group().rank()].iter().sum();
        let own: Vec<u32> = ((self.next + before) as u32..).take(n).collect();
        self.next = (self.next + all) % KEYS;
        let logits = linear(views.pass.tape, &queries, &Value::constant((&self.queue / 4.0)?), None)?;
        let labels: Vec<_> = own.iter().map(|own| Some(*own)).collect();
        let metrics = vec![("contrast_acc", accuracy(logits.tensor(), &labels, 1)?)];
        let loss = cross_entropy(views.pass.tape, &logits, &own)?;
        Ok(Learned { loss, features: features.detach(), metrics })
    }

    fn after_step(&mut self, model: &SimClr, step: u64) -> Result<()> {
        for (own, followed) in self.encoder.store.trainable().zip(model.store.trainable()) {
            optim::assign(&own.tensor, &((&own.tensor * 0.9)? + (&followed.tensor * 0.1)?)?)?;
        }
        self.told.borrow_mut().push(step);
        Ok(())
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = self.encoder.store.save_map()?;
        state.insert("queue".into(), self.queue.copy()?);
        state.insert("next".into(), Tensor::new(&[self.next as u32], &Device::Cpu)?);
        Ok(state)
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        if !self.remembers {
            return Ok(());
        }
        let mut state = state.clone();
        let mut take = |name: &str| state.remove(name).context("a key of the state");
        optim::assign(&self.queue, &take("queue")?)?;
        self.next = take("next")?.to_vec1::<u32>()?[0] as usize;
        self.encoder.store.load_map(&state, Match::EXACT)
    }

    fn cost(&self, images: f64, width: f64) -> Cost {
        Cost { operations: 3.0 * 2.0 * images * KEYS as f64 * width, forwards: 0.5, ..Cost::default() }
    }
}

pub(super) fn experiment() -> Config {
    let training = json!({
        "length": {"steps": STEPS}, "warmup": {"steps": 1}, "batch": 8, "learning_rate": 0.005, "scaling": "none",
        "optimizer": "sgd", "checkpoint_every": {"steps": 2},
    });
    serde_json::from_value(json!({
        "name": "following", "data": {"dataset": "textures", "image_size": 8, "limit": 40},
        "model": {"depth": 18, "width": 0.0625, "proj_layers": 2, "proj_dim": 8},
        "pretrain": {"training": training}, "finetune": {"training": training}, "supervised": {"training": training},
    }))
    .unwrap()
}

/// A pretraining in `out`, on from what is there, which stops as if killed after `stop` steps.
fn pretrain(out: &Path, stop: Option<u64>, remembers: bool) -> Vec<u64> {
    pretrain_among(&Group::default(), out, stop, remembers)
}

fn pretrain_among(group: &Group, out: &Path, stop: Option<u64>, remembers: bool) -> Vec<u64> {
    let (config, told) = (experiment(), Rc::new(RefCell::new(Vec::new())));
    let setup = Setup::open(&config, &Device::Cpu, config.seed, |_| Ok(())).unwrap().among(group).unwrap();
    let model = SimClr::new(&setup.spec(&config.model, setup.classes, 0), 0).unwrap();
    let given = Given { config: &config.pretrain, model: &model, seed: 0, steps: STEPS };
    let objective = Box::new(Follower::new(&given, told.clone(), remembers));
    let maker = ViewMaker::contrastive(&config.augment, setup.size()).unwrap();
    let source = (config.seed, Purpose::Contrastive);
    let loader = Loader::new(setup.train.clone(), (0..40).collect(), maker, (objective.views(), 8), source);
    let loss = Pretrain::new(objective, None).with_head(&model, config.pretrain.online_head, 0.1).unwrap();
    let mut plan: Plan<Pretrain> = setup.plan(model, loader, 40, loss).unwrap();
    train_in(out, &config, group, &mut plan, stop).unwrap();
    told.take()
}

/// Trains as `plan` says in `out`, on from what is there.
pub(super) fn train_in(
    out: &Path,
    config: &Config,
    group: &Group,
    plan: &mut Plan<Pretrain>,
    stop_after: Option<u64>,
) -> Result<()> {
    let (identity, inputs, extra) = (json!({}), vec![], Map::new());
    let (stage, resume, extend) = ("pretrain", true, None);
    let options = RunOptions { out, stage, config, identity, inputs, extra, resume, extend, group };
    let (Opened::Fresh(mut run) | Opened::Resume(mut run)) = Run::open(options).unwrap() else {
        panic!("done already")
    };
    let (training, progress, title) = (&config.pretrain.training, ProgressMode::Off, String::new());
    let options = TrainOptions { training, examples: 40, prefetch: 1, progress, title, group, stop_after };
    train(plan, &options, &mut run).map(drop)
}

/// The final weights, the last state, and what was logged.
pub(super) fn traces(out: &Path) -> (Vec<u8>, BTreeMap<String, Vec<u8>>, Vec<Json>) {
    let newest = &states::names(out).unwrap()[0];
    let state = candle_core::safetensors::load(out.join(newest), &Device::Cpu).unwrap();
    let bytes = |t: &Tensor| {
        let numbers: Vec<f32> = t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        numbers.iter().flat_map(|v| v.to_le_bytes()).collect()
    };
    let lines = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = lines.lines().map(|line| {
        let mut line: Json = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("images_per_s");
        line
    });
    let weights = std::fs::read(out.join("checkpoint/model.safetensors")).unwrap();
    (weights, state.iter().map(|(name, t)| (name.clone(), bytes(t))).collect(), lines.collect())
}

#[test]
fn an_objective_with_a_state_resumes_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    assert_eq!(pretrain(&at("straight"), None, true), (0..STEPS).collect::<Vec<_>>());
    // Stopped between two saved states: the third step is done, and told, twice.
    assert_eq!(pretrain(&at("pieces"), Some(3), true), [0, 1, 2]);
    assert_eq!(pretrain(&at("pieces"), None, true), [2, 3, 4, 5]);
    let (straight, pieces) = (traces(&at("straight")), traces(&at("pieces")));
    assert_eq!(straight.2, pieces.2, "what is logged");
    assert!(straight.0 == pieces.0, "weights");
    assert!(straight.1 == pieces.1, "state");
    let tensors = &straight.1;
    let (own, followed) = (&tensors["task/objective/conv1.weight"], &tensors["model/conv1.weight"]);
    assert!(own != followed && tensors["task/objective/queue"].chunks(4).all(|b| b != [0; 4]), "it is in use");
    assert!(tensors.contains_key("task/online.running_mean"), "beside the online head's own");
    // What the state is for: without it the run goes on otherwise.
    pretrain(&at("forgetful"), Some(3), true);
    pretrain(&at("forgetful"), None, false);
    assert!(traces(&at("forgetful")).0 != straight.0, "the state does not matter");
}

/// Whatever the number of ranks, the queue holds the keys of all, in their order, and the second network sees whole batches.
#[test]
fn a_queue_is_the_same_on_any_number_of_ranks() {
    let dir = tempfile::tempdir().unwrap();
    let (one, three) = (dir.path().join("one"), dir.path().join("three"));
    pretrain(&one, None, true);
    // 8 images fall unequally to three ranks; the fourth step begins a second process.
    for stop in [Some(3), None] {
        std::thread::scope(|scope| {
            let rank = |collective| scope.spawn(|| pretrain_among(&Group::of(collective), &three, stop, true));
            let ranks: Vec<_> = threads(3).into_iter().map(rank).collect();
            ranks.into_iter().for_each(|rank| drop(rank.join().unwrap()));
        });
    }
    let numbers = |bytes: &[u8]| -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    let [one, three] = [one, three].map(|out| traces(&out).1);
    for name in ["task/objective/queue", "task/objective/next", "task/objective/conv1.weight"] {
        // Sums of other parts are rounded otherwise; keys in another order would differ in the first digit.
        assert_close(name, &numbers(&three[name]), &numbers(&one[name]), 1e-3);
    }
}

#[test]
fn choices_are_checked() {
    let mut config = experiment();
    let model = {
        let spec = simclr_model::ModelSpec::new(&config.model, 3, 8, 0, 0);
        SimClr::blank(&spec).unwrap()
    };
    let message = |config: &Config| {
        let given = Given { config: &config.pretrain, model: &model, seed: 0, steps: 1 };
        choose(&given).err().map(|e| e.to_string())
    };
    config.pretrain.training.chunk = Some(4);
    assert_eq!(message(&config), None);
    assert!(NtXent::new(0.1).runs_in_chunks());
    config.pretrain.loss = Named::new("nt-xnet");
    assert!(message(&config).unwrap().starts_with("pretrain.loss = \"nt-xnet\": must be one of nt-xent, memory"));
    let table = toml::from_str::<BTreeMap<String, Named>>("k = { name = \"nt-xent\", queue = 3 }").unwrap();
    config.pretrain.loss = table["k"].clone();
    assert!(message(&config).unwrap().contains("unknown key pretrain.loss.queue"));
}

/// Old experiments resolve to what they always were.
#[test]
fn the_default_is_not_written_down() {
    let text = experiment().to_toml().unwrap();
    assert!(!text.contains("loss") && !text.contains("backbone"), "{text}");
}
