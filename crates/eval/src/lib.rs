//! Accuracy, linear probe, nearest neighbours, the plan of an experiment and its report.
#![forbid(unsafe_code)]

mod apply;
pub mod command;
mod evaluate;
pub mod inspect;
mod knn;
pub mod plan;
mod probe;
pub mod publish;
pub mod report;

pub use apply::{ApplyArgs, ClassifyArgs, EmbedArgs, classify, embed};
pub use evaluate::{EvalArgs, run};
pub use knn::{Gallery, Neighbours};
pub use probe::{Features, Probe};
