//! The images of one split: as pixels, whose labels may be used, and in which order an epoch shows them.

mod labels;
mod order;
mod pictures;

pub use labels::{LabelSubset, parse_list};
pub(crate) use order::Order;
pub use pictures::Pictures;
