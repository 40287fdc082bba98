//! What every stage shares: configuration, parameters, optimisers, the training loop, run folders.
//!
//! Later modules use earlier ones: `stages`, `fit`, `bounds`, `keys`, `disk`, `amount`, `rng`, `params`, `optim`, `config` come first; `hub` and `run` store;
//! `train` trains; `cli` is what a program begins with.
#![forbid(unsafe_code)]

pub mod amount;
pub mod bounds;
pub mod cli;
pub mod config;
pub mod disk;
pub mod features;
pub mod fit;
pub mod hub;
pub mod keys;
pub mod optim;
pub mod params;
pub mod persevere;
pub mod readable;
pub mod rng;
pub mod run;
pub mod stages;
pub mod tensors;
pub mod testing;
pub mod train;
