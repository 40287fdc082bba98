//! Views: what becomes of an image before a network sees it.

pub mod blur;
pub mod color;
pub mod crop;
mod pipeline;
pub mod resize;

pub use pipeline::ViewMaker;
