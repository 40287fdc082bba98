//! Image sources, label subsets, augmentation and the loader.
//!
//! Images are uint8 `[N, H, W, C]` until they are augmented; a view is f32 `[S, S, C]` in 0..=1. Everything random is a
//! pure function of (seed, purpose, epoch, sample, view).
#![forbid(unsafe_code)]

pub mod bench;
pub mod blur;
pub mod color;
pub mod crop;
mod dataset;
mod files;
mod labels;
mod loader;
mod order;
pub mod picture;
mod pictures;
pub mod resize;
pub mod sheet;
pub mod source;
pub mod sources;
#[cfg(feature = "parquet")]
pub mod synth;
mod view;

pub use dataset::{Dataset, ImageRef, Images, InMemory, load};
pub use labels::{LabelSubset, parse_list};
pub use loader::{Batch, Loader, eval_batches};
pub use pictures::Pictures;
pub use view::ViewMaker;
