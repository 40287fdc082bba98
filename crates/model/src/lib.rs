//! ResNets with selective kernels and squeeze-excitation, and the heads upon them.
//!
//! A network is a description: layers hold the ids of their parameters in a [`ParamStore`](simclr_core::params) and
//! nothing else; a [`Pass`] carries what one forward pass needs. Tensor names are those of the checkpoint format.
#![forbid(unsafe_code)]

mod blocks;
mod heads;
mod inference;
mod init;
mod layers;
mod network;
pub mod outline;
mod pass;
pub mod tensorflow;

pub use heads::{Classifier, ProjectionHead};
pub use inference::Accuracy;
pub use network::{Encoder, ModelSpec, SimClr};
pub use pass::{Mode, Pass};
