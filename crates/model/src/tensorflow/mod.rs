//! Import of TensorFlow checkpoints: those of the reference's TF1 and TF2 code, and the published ones.
//!
//! [`Bundle`] reads the files (`wire`, `table`), `names` and `graph` tell which variable is what, `architecture` finds
//! the network, [`import`] writes the checkpoint.

mod architecture;
mod bundle;
mod graph;
mod import;
mod names;
mod table;
mod wire;

pub use bundle::Bundle;
pub use import::{Imported, Options, import, prefix_of};
