//! The training loop, which all stages share, and what they give it.

mod prefetch;
mod schedule;
mod state;
mod step;
mod task;
mod trainer;

pub use prefetch::BatchFn;
pub use schedule::Schedule;
pub use task::{Loss, Task};
pub use trainer::{Outcome, TrainOptions, train};

#[cfg(test)]
mod tests;
