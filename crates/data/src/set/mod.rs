//! The images of one split: as pixels, whose labels may be used, and in which order an epoch shows them.

mod chosen;
mod labels;
mod limit;
mod order;
mod pictures;

pub(crate) use chosen::{Chosen, lots_by_class};
pub use labels::{LabelSubset, parse_list};
pub(crate) use order::Order;
pub use pictures::Pictures;
