//! What an objective is to pretraining.
//!
//! A second encoder is [`SimClr::twin`] of the network, moved by [`Objective::after_step`]; a queue is kept by
//! [`Objective::state`] and comes back by [`Objective::restore`] (`tests.rs` has an objective with both). Weights of an
//! objective's own that the optimiser moves, such as a predictor's, have no place yet: the optimiser knows the network's.
//!
//! On several ranks each has an objective of its own, which sees its rank's images; all ranks make the same calls in the same order. Ops on
//! the pass's tape know the ranks: batch norm and NT-Xent find over all what one process finds. What an objective keeps must be the
//! same on all ranks, since one of them writes the state: a queue takes the keys of all ([`Tape::of_all_ranks`]), and a second network
//! runs on [`Tape::silent`] of the pass's tape. Its loss is the mean over the rank's own images.
//!
//! Letters: `N` images of a batch, `V` views of each, `D` features, `P` the width of a projection.

use anyhow::Result;
use candle_core::Tensor;
use simclr_core::config::PretrainConfig;
pub use simclr_estimate::LossCost as Cost;
use simclr_model::{Pass, SimClr};
#[cfg(doc)]
use simclr_ops::Tape;
use simclr_ops::Value;
use std::collections::BTreeMap;

/// Where an objective is chosen in an experiment file.
pub const KEY: &str = "pretrain.loss";

/// What an objective is made from.
pub struct Given<'a> {
    /// The table `[pretrain]`; `loss` holds the objective's own settings.
    pub config: &'a PretrainConfig,
    /// The network that is trained, where it computes. A resumed run loads its numbers later: what was copied of it comes
    /// back by [`Objective::restore`].
    pub model: &'a SimClr,
    /// The experiment's seed.
    pub seed: u64,
    /// Steps of the run.
    pub steps: u64,
}

/// The views of one step, and what runs them through the network.
pub struct Views<'a> {
    /// The network that is trained.
    pub model: &'a SimClr,
    /// The forward pass: the tape, the parameters on it, batch norm in training mode.
    pub pass: &'a Pass<'a>,
    /// All first views, then all second ones, and so on: `[V N, S, S, C]`.
    pub images: &'a Value,
    /// So many images at a time, both views together, where the experiment asks for it ([`SimClr::project`]).
    pub chunk: Option<usize>,
}

/// What an objective makes of a batch.
pub struct Learned {
    /// The scalar to lower, on the tape.
    pub loss: Value,
    /// The encoder's features, cut off from the tape, which the online head reads: `[R, D]`, `R` a multiple of `N`, view by
    /// view.
    pub features: Value,
    /// Whatever else is worth writing down: scalars.
    pub metrics: Vec<(&'static str, Tensor)>,
}

/// What pretraining lowers.
pub trait Objective {
    /// Views of each image, `V`.
    fn views(&self) -> usize {
        2
    }

    /// Whether it can do with a part of the batch at a time in the network ([`Views::chunk`]).
    fn runs_in_chunks(&self) -> bool {
        false
    }

    /// The loss of a batch.
    ///
    /// # Errors
    /// When the network and the batch do not fit.
    fn loss(&mut self, views: &Views<'_>) -> Result<Learned>;

    /// The loss of a network that finds every answer equally likely, where that is known: a warning tells of a loss that stays there.
    fn guessing(&self) -> Option<f64> {
        None
    }

    /// What follows the optimiser's step `step`, counted from 0, such as a second encoder that follows `model`.
    ///
    /// # Errors
    /// When memory is short.
    fn after_step(&mut self, _model: &SimClr, _step: u64) -> Result<()> {
        Ok(())
    }

    /// Tensors that a resumed run needs, such as a queue, by names of the objective's own.
    ///
    /// # Errors
    /// When a tensor cannot be copied.
    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }

    /// Takes over what [`Objective::state`] gave.
    ///
    /// # Errors
    /// When names or shapes differ.
    fn restore(&mut self, _state: &BTreeMap<String, Tensor>) -> Result<()> {
        Ok(())
    }

    /// What a step on `images` costs over all GPUs, besides the network's forward and backward over all views; projections are
    /// `width` wide. For `simclr-pretrain --estimate`.
    fn cost(&self, images: f64, width: f64) -> Cost;
}
