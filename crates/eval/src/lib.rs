//! Accuracy, linear probe, nearest neighbours, the plan of an experiment and its report.
#![forbid(unsafe_code)]

mod evaluate;
pub mod inspect;
mod knn;
pub mod plan;
mod probe;
pub mod report;

pub use evaluate::{EvalArgs, run};
pub use knn::{Gallery, Neighbours};
pub use probe::{Features, Probe};
