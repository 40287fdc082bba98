//! The training loop, which all stages share, and what they give it.

pub mod health;
mod prefetch;
mod ranks;
mod schedule;
mod state;
mod step;
mod stop;
mod task;
mod trainer;
mod watch;
mod watched;

pub use prefetch::BatchFn;
pub use schedule::Schedule;
pub use stop::Interrupted;
pub use task::{ACCURACY, Loss, Metric, Task};
pub use trainer::{Outcome, Stopped, TrainOptions, train};

#[cfg(test)]
mod onwards_tests;
#[cfg(test)]
mod tests;
