//! Sets of tensors from outside: files of safetensors, and the one check of what a network may be filled with.

mod check;
mod file;
mod header;

pub use check::check;
pub use file::{FileTensors, Tensors, Texts, metadata, parse, read, write};
