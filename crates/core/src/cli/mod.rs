//! The command line that all stages share: options, device, log, progress.

mod args;
mod device;
mod log;
mod output;
mod parse;
mod progress;

pub use args::{CommonArgs, compute_with, threads, vector_unit};
pub use device::{DeviceChoice, device_name};
pub use log::{exit_with, init_log, log_of_rank};
pub use output::{put, say};
pub use parse::{number, parse, parse_from, size};
pub use progress::{Progress, ProgressMode};
