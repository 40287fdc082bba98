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
use serde::de::DeserializeOwned;
use simclr_core::config::{Named, ResNetSettings};
use simclr_core::keys::{Choice, Settings, Table};

/// Declares the parameters of one backbone.
type Declare = fn(&mut Builder<'_>, &ModelSpec) -> Result<Box<dyn Backbone>>;

/// A backbone by name, its settings as they are declared, and what declares its parameters.
struct Entry {
    name: &'static str,
    table: fn() -> &'static Table,
    check: fn(&Named) -> Result<()>,
    declare: Declare,
}

impl Entry {
    /// One with these settings.
    const fn of<T: Settings + DeserializeOwned>(name: &'static str, declare: Declare) -> Self {
        Self { name, table: T::table, check: |chosen| chosen.checked::<T>(KEY).map(drop), declare }
    }

    fn find(chosen: &Named) -> Result<&'static Self> {
        let found = BACKBONES.iter().find(|entry| entry.name == chosen.name);
        found.ok_or_else(|| chosen.unknown(KEY, &BACKBONES.iter().map(|entry| entry.name).collect::<Vec<_>>()))
    }
}

const BACKBONES: &[Entry] = &[
    Entry::of::<ResNetSettings>("resnet", |b, spec| Ok(Box::new(resnet::ResNet::new(b, spec)?))),
    #[cfg(test)]
    Entry::of::<tests::PatchesSettings>("patches", |b, spec| Ok(Box::new(tests::Patches::new(b, spec)?))),
];

/// Checks the backbone that an experiment names, and its settings.
///
/// # Errors
/// When there is none of that name, or a setting is unknown or out of range.
pub fn check(chosen: &Named) -> Result<()> {
    (Entry::find(chosen)?.check)(chosen)
}

/// What `model.backbone` may name.
pub fn choices() -> Vec<Choice> {
    BACKBONES.iter().map(|entry| Choice::new(entry.name, (entry.table)())).collect()
}

/// The backbone that `spec` names, its parameters declared.
///
/// # Errors
/// When there is none of that name, or its settings are not valid.
pub fn declare(b: &mut Builder<'_>, spec: &ModelSpec) -> Result<Box<dyn Backbone>> {
    let chosen = &spec.model.backbone;
    let entry = Entry::find(chosen)?;
    (entry.check)(chosen)?;
    (entry.declare)(b, spec)
}
