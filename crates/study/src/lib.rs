//! A study: a grid of experiments that answers one question, such as whether bigger networks gain more from few labels.
//!
//! An experiment is one file of choices; a study varies some of them over a base. Each combination is a *cell*, run with several
//! seeds; cells share the runs of stages that nothing of theirs decides differently.

#![forbid(unsafe_code)]

mod file;
mod gather;
mod grid;
pub mod outcome;
mod plan;
pub mod results;
pub mod statistics;

pub use file::Study;
pub use gather::gather;
pub use outcome::Outcome;
pub use plan::{Choice, Plan, SharedJob};
