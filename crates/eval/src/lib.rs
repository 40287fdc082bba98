//! What a checkpoint is worth: accuracy, linear probe, nearest neighbours; and what it makes of pictures: features, classes.
//!
//! The command `simclr-eval` has the report's and the publisher's commands besides.
#![forbid(unsafe_code)]

mod apply;
mod calibration;
mod classify;
pub mod command;
mod embed;
mod evaluate;
mod experiment;
mod forecast;
mod inputs;
pub mod keys;
mod knn;
pub mod look;
mod output;
mod probe;
mod propagate;
#[cfg(test)]
mod ranks_tests;
pub mod review;
mod study;

pub use apply::ApplyArgs;
pub use calibration::{Bin, Calibration};
pub use classify::{ClassifyArgs, classify};
pub use embed::{EmbedArgs, embed};
pub use evaluate::{EvalArgs, run};
pub use forecast::{EstimateArgs, estimate};
pub use knn::{Gallery, Neighbours};
pub use probe::{Features, Probe};
