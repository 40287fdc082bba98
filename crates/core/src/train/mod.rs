//! The training loop, which all stages share, and what they give it.

mod prefetch;
mod schedule;
mod state;
mod step;
mod task;
mod trainer;
mod watch;

pub use prefetch::BatchFn;
pub use schedule::Schedule;
pub use task::{ACCURACY, Loss, Task};
pub use trainer::{Outcome, Stopped, TrainOptions, train};

#[cfg(test)]
mod onwards_tests;
#[cfg(test)]
mod tests;
