//! Views: what becomes of an image before a network sees it, a list of transforms.
//!
//! To add a transform: a file with its settings, its draw and its work, and its two lines here.

pub mod blur;
mod canvas;
pub mod central_crop;
pub mod color;
pub mod crop;
pub mod flip;
pub mod grayscale;
pub mod jitter;
mod layout;
mod pipeline;
pub mod random_crop;
mod recipes;
pub mod resize;
pub mod rotate;
pub mod solarize;
mod transform;
pub mod vertical_flip;
pub mod whole;

pub use canvas::Canvas;
pub use pipeline::ViewMaker;
pub use recipes::check;
pub use transform::{OnGpu, Part, Transform, TransformInfo};

/// What `augment.transforms` may name.
pub static TRANSFORMS: &[&TransformInfo] = &[
    &random_crop::TRANSFORM,
    &central_crop::TRANSFORM,
    &whole::TRANSFORM,
    &flip::TRANSFORM,
    &vertical_flip::TRANSFORM,
    &rotate::TRANSFORM,
    &jitter::TRANSFORM,
    &grayscale::TRANSFORM,
    &blur::TRANSFORM,
    &solarize::TRANSFORM,
];
