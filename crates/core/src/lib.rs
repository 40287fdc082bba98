//! What every stage shares: configuration, parameters, optimisers, the training loop, run folders.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod cli;
pub mod config;
mod config_check;
mod config_data;
mod config_eval;
mod config_file;
mod config_training;
pub mod disk;
pub mod features;
pub mod hub;
pub mod optimizer;
pub mod params;
mod prefetch;
pub mod progress;
pub mod rng;
pub mod run;
pub mod schedule;
pub mod tensorboard;
pub mod testing;
pub mod trainer;
