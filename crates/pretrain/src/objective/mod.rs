//! The objectives of pretraining, one file each, and the table that `pretrain.loss` chooses from.
//!
//! To add one: a file beside [`nt_xent`] with a type that implements [`Objective`], and a line in the table. Its settings
//! are its own: `pretrain.loss = { name = "...", key = value }`, read by `given.config.loss.settings(KEY)`.

mod contract;
pub mod nt_xent;
#[cfg(test)]
mod tests;

pub use contract::{Cost, Given, KEY, Learned, Objective, Views};
pub use nt_xent::NtXent;

use anyhow::{Result, ensure};

/// Makes one objective.
type Make = fn(&Given<'_>) -> Result<Box<dyn Objective>>;

const OBJECTIVES: &[(&str, Make)] = &[("nt-xent", |given| Ok(Box::new(NtXent::of(given)?)))];

/// The objective that the experiment names.
///
/// # Errors
/// When there is none of that name, its settings are not valid, or it cannot run in the chunks that the experiment asks
/// for.
pub fn choose(given: &Given<'_>) -> Result<Box<dyn Objective>> {
    let chosen = &given.config.loss;
    let Some((_, make)) = OBJECTIVES.iter().find(|(name, _)| *name == chosen.name) else {
        return Err(chosen.unknown(KEY, &OBJECTIVES.iter().map(|(name, _)| *name).collect::<Vec<_>>()));
    };
    let objective = make(given)?;
    ensure!(
        given.config.training.chunk.is_none() || objective.runs_in_chunks(),
        "pretrain.training.chunk: the loss \"{}\" needs the whole batch at once; leave the key out",
        chosen.name
    );
    Ok(objective)
}
