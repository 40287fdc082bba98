//! A study: a grid of experiments that answers one question, such as whether bigger networks gain more from few labels.
//!
//! An experiment is one file of choices; a study varies some of them over a base. Each combination is a *cell*, run with several
//! seeds; cells share the runs of stages that nothing of theirs decides differently.

#![forbid(unsafe_code)]

mod file;
#[cfg(test)]
mod file_tests;
mod gather;
mod grid;
pub mod outcome;
pub mod page;
mod plan;
pub mod results;
mod standing;
pub mod statistics;
pub mod testing;

pub use file::Study;
pub use gather::gather;
pub use outcome::Outcome;
pub use plan::{Choice, Plan, SharedJob, config_name, is_finished};
pub use standing::{Place, cheapest, conclusions, standing};
