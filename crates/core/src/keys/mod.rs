//! Keys of an experiment file: declared once, from which their checks and their reference follow.

mod kind;
mod macros;
mod range;
mod rows;
mod value;

pub use kind::{Choice, Key, Kind, Table, Word};
pub use range::{Range, Without, number};
pub use rows::{Row, Section, help, prose, rows, sections};
pub use value::{Settings, Value, path, shown_numbers};
