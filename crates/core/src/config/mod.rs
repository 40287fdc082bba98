//! The experiment file: its tables, each with its defaults and its checks, one file a table.
//!
//! Letters: a *fraction* is the share of training labels that a stage may see. `[[finetune.at]]` tables (and those of
//! `supervised` and of each student) override their stage for one fraction.

mod augment;
mod data;
mod eval;
mod experiment;
mod file;
mod model;
mod named;
mod resnet;
mod stages;
mod training;

pub use crate::optim::OptimizerConfig;
pub use crate::value::{check_fraction, not_negative as check_not_negative, share as check_share};
pub use augment::AugmentConfig;
pub use data::{Corrupt, DataConfig, EachRange, LabelList, MAX_PIXELS, Range, Truncated, Upload};
pub use eval::{EvalConfig, LinearConfig, Resize};
pub use experiment::Config;
pub use model::{MaxPool, ModelConfig, Stem};
pub use named::Named;
pub use resnet::{BASE_CHANNELS, Layout};
pub use stages::{DistillConfig, FinetuneConfig, OnlineHead, PretrainConfig, ReproduceConfig};
pub use training::{Dtype, Duration, Scaling, TrainingConfig};
