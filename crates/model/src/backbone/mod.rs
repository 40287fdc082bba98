//! The backbones, and the table that `model.backbone` chooses from.
//!
//! To add one: a file here with a type that implements [`Backbone`], and a line in the table. It reads its settings by
//! `spec.model.backbone.settings(KEY)`, and declares a parameter by a method of [`Builder`], [`Builder::tensor`] if no other
//! fits. Convolutions' weights are `[O, K, K, C]`, images and maps are `[N, H, W, C]`: candle's own layers want both
//! permuted.

mod contract;
mod resnet;
#[cfg(test)]
mod tests;

pub use contract::{Backbone, KEY};

use crate::init::Builder;
use crate::spec::ModelSpec;
use anyhow::Result;

/// Declares the parameters of one backbone.
type Declare = fn(&mut Builder<'_>, &ModelSpec) -> Result<Box<dyn Backbone>>;

const BACKBONES: &[(&str, Declare)] = &[
    ("resnet", |b, spec| Ok(Box::new(resnet::ResNet::new(b, spec)?))),
    #[cfg(test)]
    ("patches", |b, spec| Ok(Box::new(tests::Patches::new(b, spec)?))),
];

/// The backbone that `spec` names, its parameters declared.
///
/// # Errors
/// When there is none of that name, or its settings are not valid.
pub fn declare(b: &mut Builder<'_>, spec: &ModelSpec) -> Result<Box<dyn Backbone>> {
    let chosen = &spec.model.backbone;
    match BACKBONES.iter().find(|(name, _)| *name == chosen.name) {
        Some((_, declare)) => declare(b, spec),
        None => Err(chosen.unknown(KEY, &BACKBONES.iter().map(|(name, _)| *name).collect::<Vec<_>>())),
    }
}
