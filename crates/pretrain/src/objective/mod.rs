//! The objectives of pretraining, one file each, and the table that `pretrain.loss` chooses from.
//!
//! To add one: a file beside [`nt_xent`] with a type that implements [`Objective`], and a line in the table. Its settings
//! are its own: `pretrain.loss = { name = "...", key = value }`, read by `given.config.loss.settings(KEY)`.

mod contract;
pub mod memory;
pub mod nt_xent;
#[cfg(test)]
mod tests;

pub use contract::{Cost, Given, KEY, Learned, Objective, Views};
pub use memory::Memory;
pub use nt_xent::NtXent;

use anyhow::{Result, ensure};
use serde::de::DeserializeOwned;
use simclr_core::config::Named;
use simclr_core::keys::{Choice, Settings, Table};

/// Makes one objective.
type Make = fn(&Given<'_>) -> Result<Box<dyn Objective>>;

/// An objective by name, its settings as they are declared, and what makes it.
struct Entry {
    name: &'static str,
    table: fn() -> &'static Table,
    check: fn(&Named) -> Result<()>,
    make: Make,
}

impl Entry {
    /// One with these settings.
    const fn of<T: Settings + DeserializeOwned>(name: &'static str, make: Make) -> Self {
        Self { name, table: T::table, check: |chosen| chosen.checked::<T>(KEY).map(drop), make }
    }

    fn find(chosen: &Named) -> Result<&'static Self> {
        let found = OBJECTIVES.iter().find(|entry| entry.name == chosen.name);
        found.ok_or_else(|| chosen.unknown(KEY, &OBJECTIVES.iter().map(|entry| entry.name).collect::<Vec<_>>()))
    }
}

const OBJECTIVES: &[Entry] = &[
    Entry::of::<nt_xent::Settings>("nt-xent", |given| Ok(Box::new(NtXent::of(given)))),
    Entry::of::<memory::Settings>("memory", |given| Ok(Box::new(Memory::of(given)?))),
];

/// Checks the objective that an experiment names, and its settings.
///
/// # Errors
/// When there is none of that name, or a setting is unknown or out of range.
pub fn check(chosen: &Named) -> Result<()> {
    (Entry::find(chosen)?.check)(chosen)
}

/// What `pretrain.loss` may name.
pub fn choices() -> Vec<Choice> {
    OBJECTIVES.iter().map(|entry| Choice::new(entry.name, (entry.table)())).collect()
}

/// The objective that the experiment names.
///
/// # Errors
/// When there is none of that name, its settings are not valid, or it cannot run in the chunks that the experiment asks
/// for.
pub fn choose(given: &Given<'_>) -> Result<Box<dyn Objective>> {
    let chosen = &given.config.loss;
    let entry = Entry::find(chosen)?;
    (entry.check)(chosen)?;
    let objective = (entry.make)(given)?;
    ensure!(
        given.config.training.chunk.is_none() || objective.runs_in_chunks(),
        "pretrain.training.chunk: the loss \"{}\" needs the whole batch at once; leave the key out",
        chosen.name
    );
    Ok(objective)
}
