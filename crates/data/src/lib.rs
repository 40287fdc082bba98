//! Datasets, label subsets, augmentation and the loader.
//!
//! Images are uint8 `[N, H, W, C]` until they are augmented; a view is f32 `[S, S, C]` in 0..=1. Everything random is a
//! pure function of (seed, purpose, epoch, sample, view).
//!
//! [`source`] holds the table of datasets; [`load`] opens one: two splits of [`Pictures`], each over an
//! [`access::Source`] of samples by number. [`view`] holds the transforms; a [`ViewMaker`] applies a list of them. The
//! [`Loader`] ties both together.
#![forbid(unsafe_code)]

pub mod access;
mod check;
pub mod decode;
mod guard;
mod image;
mod loader;
mod matching;
mod name;
mod set;
pub mod source;
pub mod view;

pub use check::check;
pub use image::{ImageRef, Images, Picture};
pub use loader::{Batch, Loader, Made, eval_batches};
pub use name::{is_picture, stable_name};
pub use set::{LabelSubset, Pictures, parse_list};
pub use source::{Dataset, Found, load};
pub use view::{ViewMaker, blur, color, crop, resize};
