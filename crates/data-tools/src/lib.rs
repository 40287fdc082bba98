//! What stands beside the data library: a synthetic ImageNet, contact sheets, the speed of augmentation.
#![forbid(unsafe_code)]

pub mod bench;
pub mod sheet;
#[cfg(feature = "parquet")]
pub mod synth;
