//! What every stage shares: configuration, parameters, optimisers, the training loop, run folders.

pub mod config;
pub mod rng;
