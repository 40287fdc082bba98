//! Random and evaluation views: the reference's image operations on f32 `[H, W, C]` in 0..=1.

pub mod blur;
pub mod color;
pub mod crop;
pub mod resize;
mod view;

pub use view::ViewMaker;
