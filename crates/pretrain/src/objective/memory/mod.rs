//! The paper's memory (Chen et al. 2020b, section 2): keys of a momentum encoder, and a queue of older ones as further
//! negatives (MoCo, He et al. 2020).
//!
//! A step: the momentum network makes the keys of both views of the batch; the trained network's projections of them look for
//! the key of the other view among the keys of all other images and the queue; the optimiser moves the trained network; the
//! momentum network follows it; the keys enter the queue.
//!
//! The momentum network is a copy of the trained one as it stands at the first step. It normalises by the moments of the batch
//! (over all ranks, and with `chunk` of the chunk), as the trained network does, so nothing reads its running statistics. They
//! follow its own batches, as those of any network, and are in the state, so that a run that was resumed writes the same state.
//! What pretraining hands on is the trained network alone.

mod queue;
#[cfg(test)]
mod tests;

use super::contract::{Cost, Given, KEY, Learned, Objective, Views};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use queue::Queue;
use serde::Deserialize;
use simclr_core::bounds;
use simclr_core::keys::Range;
use simclr_core::params::Match;
use simclr_core::table;
use simclr_core::train::health::guess_among;
use simclr_model::{Mode, ModelSpec, Pass, SimClr};
use simclr_ops::{contrast_keys, optim, unit_rows};
use std::collections::BTreeMap;

/// What the names of the momentum network's tensors begin with in a state.
const MOMENTUM: &str = "momentum/";

table! {
    /// Each view finds the key of the other view of its image among the keys of all other images of the batch and a queue of older
    /// keys (Chen et al. 2020b, section 2; MoCo, He et al. 2020). A momentum network makes the keys, which follows the trained
    /// one. The temperature is that of the table `[pretrain]`. The loss is the mean over all views, where NT-Xent's is the sum of both
    /// directions: half of it, so that SGD wants twice the learning rate (LARS and Adam want the same).
    #[derive(Clone, Copy, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct Settings with defaults {
        /// What the momentum network keeps of itself in a step; the rest is the trained network. It is the mean of the last
        /// `1 / (1 - decay)` steps, of which a run should have many times as many.
        pub decay: f64 = 0.999, in Range::SHARE, from "Chen et al. 2020b, section 2";
        /// Keys of the queue, two an image. It begins empty. 0 leaves the momentum network, and keys of the batch alone.
        pub size: usize = 65_536, in Range::of(&bounds::QUEUE), from "Chen et al. 2020b, section 2";
    }
}

/// Contrast with keys that a following network made.
pub struct Memory {
    temperature: f64,
    decay: f64,
    /// What the momentum network is, where it computes, and how it stores maps.
    shape: (ModelSpec, Device, DType),
    /// Numbers of it, running statistics included.
    numbers: usize,
    /// Made when it is first needed: an estimate needs none, and a resumed run fills it from its state.
    momentum: Option<SimClr>,
    queue: Queue,
    /// The keys of the step that is under way, `[2N, P]`.
    keys: Option<Tensor>,
    /// Among how many keys a view found its own in the last step.
    choices: Option<usize>,
}

impl Memory {
    /// As the experiment says.
    ///
    /// # Errors
    /// When a setting is not valid, or the queue is larger than any network.
    pub fn of(given: &Given<'_>) -> Result<Self> {
        let Settings { decay, size } = given.config.loss.checked(KEY)?;
        let model = given.model;
        let width = model.projection.width(-1)?;
        ensure!(
            size.saturating_mul(width) <= bounds::PARAMETERS,
            "{KEY}.size = {size}: with projections of {width} numbers the queue has {:.0} million, and {:.0} are the most",
            size as f64 * width as f64 / 1e6,
            bounds::PARAMETERS as f64 / 1e6
        );
        Ok(Self {
            temperature: given.config.temperature,
            decay,
            shape: (model.spec.clone(), model.store.device().clone(), model.map_dtype()),
            numbers: model.store.iter().map(|p| p.tensor.elem_count()).sum(),
            momentum: None,
            queue: Queue::new((size, width), model.store.device())?,
            keys: None,
            choices: None,
        })
    }
}

impl Objective for Memory {
    fn runs_in_chunks(&self) -> bool {
        true
    }

    fn loss(&mut self, views: &Views<'_>) -> Result<Learned> {
        let Views { model, pass, images, chunk } = *views;
        let tape = pass.tape;
        let momentum = match &mut self.momentum {
            Some(momentum) => momentum,
            none => none.insert(model.twin().context("making the momentum network")?),
        };
        // The keys first: what they take is free again before the trained network keeps its maps.
        let silent = tape.silent();
        let keys = momentum.project(&Pass::new(&silent, &momentum.store, Mode::Train), images, chunk)?.1;
        let keys = tape.of_all_ranks(&unit_rows(keys.tensor())?, 2)?;
        let (features, hidden) = model.project(pass, images, chunk)?;
        let queue = self.queue.keys()?;
        let contrast = contrast_keys(tape, &hidden, &keys, queue.as_ref(), self.temperature)?;
        self.choices = Some(keys.dim(0)? - 1 + self.queue.filled());
        self.keys = Some(keys);
        let metrics = vec![
            ("contrast_loss", contrast.loss.tensor().clone()),
            ("contrast_acc", contrast.accuracy),
            ("contrast_entropy", contrast.entropy),
        ];
        Ok(Learned { loss: contrast.loss, features, metrics })
    }

    /// All keys of the batch but that of its own view, and the queue as far as it is filled.
    fn guessing(&self) -> Option<f64> {
        self.choices.filter(|n| *n > 1).map(guess_among)
    }

    fn after_step(&mut self, model: &SimClr, _: u64) -> Result<()> {
        if let Some(momentum) = &self.momentum {
            for (own, trained) in momentum.store.trainable().zip(model.store.trainable()) {
                let moved = ((&own.tensor * self.decay)? + (&trained.tensor * (1.0 - self.decay))?)?;
                optim::assign(&own.tensor, &moved)?;
            }
        }
        self.keys.take().map_or(Ok(()), |keys| self.queue.enter(&keys))
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = self.queue.state()?;
        if let Some(momentum) = &self.momentum {
            let tensors = momentum.store.save_map()?;
            state.extend(tensors.into_iter().map(|(name, tensor)| (format!("{MOMENTUM}{name}"), tensor)));
        }
        Ok(state)
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let own = |(name, t): (&String, &Tensor)| Some((name.strip_prefix(MOMENTUM)?.to_string(), t.clone()));
        let tensors: BTreeMap<_, _> = state.iter().filter_map(own).collect();
        let (spec, device, maps) = &self.shape;
        SimClr::expect(spec, &tensors).with_context(|| format!("{KEY}: the momentum network of the state"))?;
        self.queue.restore(state).with_context(|| format!("{KEY}: the queue of the state"))?;
        let momentum = match &mut self.momentum {
            Some(momentum) => momentum,
            none => none.insert(SimClr::blank(spec)?.on(device)?.with_map_dtype(*maps)),
        };
        self.keys = None;
        momentum.store.load_map(&tensors, Match::EXACT)
    }

    /// Another forward; similarities of all views with all keys, and the product of the backward pass, which keys need none of. The matrix
    /// is read or written eight times. Each GPU has the whole momentum network and queue.
    fn cost(&self, images: f64, width: f64) -> Cost {
        let views = 2.0 * images;
        let similarities = views * (views + self.queue.size() as f64);
        Cost {
            operations: 2.0 * 2.0 * similarities * width,
            moved: 8.0 * 4.0 * similarities,
            held: 4.0 * (similarities + 2.0 * images * images),
            kept: 4.0 * (self.numbers as f64 + self.queue.size() as f64 * width),
            forwards: 1.0,
            gathered: 4.0 * views * width,
            summed: 0.0,
        }
    }
}
