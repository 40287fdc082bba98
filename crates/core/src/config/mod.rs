//! The experiment file: its tables, each with its defaults and its checks, one file a table.
//!
//! Letters: an *amount* says how many labels a stage may see, a share of them or so many a class. `[[finetune.at]]` tables (and those of
//! `supervised` and of each student) override their stage for one amount.

mod augment;
mod crop;
mod data;
mod eval;
mod experiment;
mod file;
#[cfg(test)]
mod key_tests;
mod model;
mod named;
mod resnet;
mod stages;
mod texts;
mod training;

pub use crate::amount::LabelAmount;
pub use crate::keys::Settings;
pub use crate::optim::OptimizerConfig;
pub use augment::{AugmentConfig, STRENGTH};
pub use crop::Crop;
pub use data::{Corrupt, DataConfig, EachRange, LabelList, MAX_CHANNELS, MAX_PIXELS, Range, Truncated, Upload};
pub use eval::{EvalConfig, LinearConfig, Resize, TEMPERATURE};
pub use experiment::{Config, keys_help};
pub use file::{read as read_table, typed};
pub use model::{MaxPool, ModelConfig, ResNetSettings, Stem};
pub use named::Named;
pub use resnet::{BASE_CHANNELS, Layout};
pub use stages::{DistillConfig, FinetuneConfig, OnlineHead, PretrainConfig, ReproduceConfig};
pub use training::{Dtype, Duration, Scaling, TrainingConfig};
