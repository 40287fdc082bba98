//! Encoders, and the heads upon them.
//!
//! A network is a description: layers hold the ids of their parameters in a [`ParamStore`](simclr_core::params) and
//! nothing else; a [`Pass`] carries what one forward pass needs. Tensor names are those of the checkpoint format.
#![forbid(unsafe_code)]

mod backbone;
mod encoder;
mod heads;
mod inference;
mod init;
mod layers;
mod network;
pub mod outline;
mod pass;
mod spec;
pub mod tensorflow;
pub mod torch;

pub use backbone::{Backbone, check as check_backbone, choices as backbones};
pub use encoder::Encoder;
pub use heads::{Classifier, ProjectionHead};
pub use inference::{Accuracy, Hits};
pub use init::Builder;
pub use network::SimClr;
pub use pass::{Mode, Pass};
pub use spec::ModelSpec;
