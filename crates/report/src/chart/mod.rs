//! Charts as inline SVG, coloured by the page's style sheet.

mod axis;
mod line;
pub mod mark;
pub mod rows;
pub mod scatter;

pub use axis::Scale;
pub use line::{Chart, Points, Series};
